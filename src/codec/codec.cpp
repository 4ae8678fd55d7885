#include "codec/codec.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <optional>

#include "codec/basis_restart.h"
#include "codec/end.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

double squared_norm(const at::Tensor& x) {
  const at::Tensor flat = x.detach().reshape({-1});
  return at::dot(flat, flat).item<double>();
}

Bytes to_bytes(const at::Tensor& x) {
  const at::Tensor host = host_floats(x);
  const ByteSpan bytes = bytes_of(host);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

bool is_of_run(const std::string& name) {
  return name.ends_with(".residual_moment") || name.ends_with(".restarted") ||
         name.ends_with(".activation.error") || name.ends_with(".gradient.error");
}

struct SenderEnd::Impl : End {
  explicit Impl(const EndOptions& options)
      : End(options, "sender"),
        restart({.steps = restart_steps,
                 .hidden_size = options.hidden_size,
                 .device = options.device}) {}

  // Looks at the residual of a micro-batch, where somebody wants to know of it.
  void look_at(const at::Tensor& x_ND, const at::Tensor& ids_N, const at::Tensor& z_NR) {
    if (energy_kept && !restart.gathers()) return;
    const at::NoGradGuard no_grad;
    const at::Tensor r_ND = anchor ? x_ND - anchor->lookup(ids_N) : x_ND.detach();
    if (!energy_kept) {
      const double whole = squared_norm(r_ND);
      energy_kept = whole > 0 ? squared_norm(z_NR) / whole : 1.0;
    }
    if (restart.gathers()) restart.gather(r_ND);
  }

  std::optional<double> energy_kept;  // of the first micro-batch since it was asked for
  BasisRestart restart;
  uint64_t step = 0;  // of the last sync
};

SenderEnd::SenderEnd(const EndOptions& options) : impl_(std::make_unique<Impl>(options)) {}
SenderEnd::~SenderEnd() = default;

int64_t SenderEnd::width() const { return impl_->projector->width(); }
const Packing& SenderEnd::activation() const { return *impl_->activation; }
const Packing& SenderEnd::gradient() const { return *impl_->gradient; }
int64_t SenderEnd::activation_bytes(int64_t rows) const {
  return impl_->activation->packed_bytes(rows, width());
}
int64_t SenderEnd::gradient_bytes(int64_t rows) const {
  return impl_->gradient->packed_bytes(rows, width());
}

at::Tensor SenderEnd::project(const at::Tensor& x_ND, const at::Tensor& ids_N) {
  impl_->check_rows(x_ND, impl_->hidden_size, ids_N);
  const at::Tensor z_NR = impl_->projector->project(x_ND, ids_N, impl_->anchor.get());
  if (impl_->basis().defined()) impl_->look_at(x_ND, ids_N, z_NR);
  return z_NR;
}

Bytes SenderEnd::pack(const at::Tensor& z_NR, const MessageKey& key) {
  if (!impl_->mean) return impl_->activation->pack(z_NR, key);
  if (key.trains) impl_->mean->gather(z_NR);
  return impl_->activation->pack(z_NR - impl_->mean->value(), key);
}

Result<at::Tensor> SenderEnd::unpack_gradient(ByteSpan bytes, int64_t rows, const MessageKey& key) {
  return impl_->unpack(*impl_->gradient, bytes, rows, key);
}

at::Tensor SenderEnd::basis() const { return impl_->basis(); }
Bytes SenderEnd::packed_basis() const {
  return impl_->basis().defined() ? to_bytes(impl_->basis()) : Bytes();
}
int64_t SenderEnd::basis_bytes() const { return impl_->basis_bytes(); }

Status SenderEnd::read_sync(ByteSpan bytes, uint64_t step) {
  const auto parts =
      impl_->split(bytes, impl_->half_bytes(step), impl_->gradient->announced_bytes(step));
  if (!parts.is_ok()) return parts.status();
  auto half_DR = impl_->read_basis(parts.value().first, "basis gradient");
  if (!half_DR.is_ok()) return half_DR.status();
  if (!impl_->moves_in(step)) impl_->drop_basis_gradient();  // the optimiser then leaves it alone
  if (half_DR.value().defined()) {
    at::Tensor basis_DR = impl_->basis();
    at::Tensor& sum_DR = basis_DR.mutable_grad();
    if (sum_DR.defined()) {
      sum_DR.add_(half_DR.value());
    } else {
      sum_DR = half_DR.value();
    }
  }
  return impl_->gradient->read_announced(parts.value().second, step);
}

Bytes SenderEnd::sync(uint64_t step) {
  impl_->step = step;
  const bool restarts =
      BasisRestart::is_due(impl_->restart_steps, step) && impl_->restart.gathers();
  if (restarts) {
    const at::NoGradGuard no_grad;
    impl_->basis().copy_(impl_->restart.directions(width()));
  }
  Bytes bytes = impl_->update_bytes(step) > 0 ? to_bytes(impl_->basis()) : Bytes();
  if (impl_->mean) bytes = End::joined(std::move(bytes), impl_->mean->announce(restarts));
  return End::joined(std::move(bytes), impl_->activation->announce(step));
}
int64_t SenderEnd::sync_bytes(uint64_t step) const { return impl_->forward_bytes(step); }
int64_t SenderEnd::most_forward_sync_bytes() const { return impl_->most_forward_bytes(); }
int64_t SenderEnd::read_sync_bytes(uint64_t step) const {
  return impl_->half_bytes(step) + impl_->gradient->announced_bytes(step);
}
void SenderEnd::commit() {
  impl_->restart.commit(impl_->step);
  impl_->commit();
}
void SenderEnd::abort() {
  impl_->restart.abort();
  impl_->abort();
}

uint64_t SenderEnd::state_hash() const { return impl_->state_hash(); }

std::vector<math::Parameter> SenderEnd::parameters() {
  std::vector<math::Parameter> all = impl_->own_parameters();
  if (const auto rule = impl_->projector->rule()) {
    all.insert(all.begin(), {impl_->prefix + "sender.basis", impl_->basis(), *rule});
  }
  return all;
}

math::NamedTensors SenderEnd::state() {
  math::NamedTensors all = impl_->state();
  for (auto& [name, tensor] : impl_->restart.state()) {
    all.emplace_back(impl_->prefix + "sender." + name, tensor);
  }
  return all;
}

double SenderEnd::energy_kept() {
  constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();
  if (!impl_->basis().defined()) return impl_->is_identity ? 1.0 : kNotKnown;
  const double kept = impl_->energy_kept.value_or(kNotKnown);
  impl_->energy_kept.reset();
  return kept;
}

double SenderEnd::orthogonality_error() const {
  return impl_->basis().defined() ? math::orthogonality_error(impl_->basis()) : 0.0;
}

struct ReceiverEnd::Impl : End {
  explicit Impl(const EndOptions& options) : End(options, "receiver") {}
};

ReceiverEnd::ReceiverEnd(const EndOptions& options) : impl_(std::make_unique<Impl>(options)) {}
ReceiverEnd::~ReceiverEnd() = default;

int64_t ReceiverEnd::width() const { return impl_->projector->width(); }
const Packing& ReceiverEnd::activation() const { return *impl_->activation; }
const Packing& ReceiverEnd::gradient() const { return *impl_->gradient; }
int64_t ReceiverEnd::activation_bytes(int64_t rows) const {
  return impl_->activation->packed_bytes(rows, width());
}
int64_t ReceiverEnd::gradient_bytes(int64_t rows) const {
  return impl_->gradient->packed_bytes(rows, width());
}

Result<at::Tensor> ReceiverEnd::unpack(ByteSpan bytes, int64_t rows, const MessageKey& key) {
  auto z_NR = impl_->unpack(*impl_->activation, bytes, rows, key);
  if (impl_->mean && z_NR.is_ok()) z_NR.value() += impl_->mean->value();
  return z_NR;
}

at::Tensor ReceiverEnd::restore(const at::Tensor& z_NR, const at::Tensor& ids_N) {
  impl_->check_rows(z_NR, width(), ids_N);
  return impl_->projector->restore(z_NR, ids_N, impl_->anchor.get());
}

Bytes ReceiverEnd::pack_gradient(const at::Tensor& grad_NR, const MessageKey& key) {
  return impl_->gradient->pack(grad_NR, key);
}

at::Tensor ReceiverEnd::basis() const { return impl_->basis(); }
Status ReceiverEnd::set_basis(ByteSpan bytes) {
  const auto basis_DR = impl_->read_basis(bytes, "basis");
  if (!basis_DR.is_ok() || bytes.empty()) return basis_DR.status();
  at::NoGradGuard no_grad;
  impl_->basis().copy_(basis_DR.value());
  return Status::ok();
}
int64_t ReceiverEnd::basis_bytes() const { return impl_->basis_bytes(); }

Bytes ReceiverEnd::sync(uint64_t step) {
  Bytes half(static_cast<size_t>(impl_->half_bytes(step)));
  if (!half.empty() && impl_->basis().grad().defined()) half = to_bytes(impl_->basis().grad());
  impl_->drop_basis_gradient();
  return End::joined(std::move(half), impl_->gradient->announce(step));
}

Status ReceiverEnd::read_sync(ByteSpan bytes, uint64_t step) {
  const int64_t mean_bytes = impl_->mean_bytes();
  const auto parts = impl_->split(bytes, impl_->update_bytes(step) + mean_bytes,
                                  impl_->activation->announced_bytes(step));
  if (!parts.is_ok()) return parts.status();
  const auto [values, announced] = parts.value();
  Status status = impl_->activation->read_announced(announced, step);
  if (impl_->mean && status.is_ok()) {
    status = impl_->mean->read_announced(values.last(static_cast<size_t>(mean_bytes)));
  }
  if (!status.is_ok()) return status;
  return set_basis(values.first(values.size() - static_cast<size_t>(mean_bytes)));
}
int64_t ReceiverEnd::sync_bytes(uint64_t step) const {
  return impl_->half_bytes(step) + impl_->gradient->announced_bytes(step);
}
int64_t ReceiverEnd::read_sync_bytes(uint64_t step) const { return impl_->forward_bytes(step); }
int64_t ReceiverEnd::most_forward_sync_bytes() const { return impl_->most_forward_bytes(); }
void ReceiverEnd::commit() { impl_->commit(); }
void ReceiverEnd::abort() { impl_->abort(); }

uint64_t ReceiverEnd::state_hash() const { return impl_->state_hash(); }

std::vector<math::Parameter> ReceiverEnd::parameters() { return impl_->own_parameters(); }

math::NamedTensors ReceiverEnd::state() { return impl_->state(); }

}  // namespace mapl::codec
