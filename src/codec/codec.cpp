#include "codec/codec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "base/rng.h"
#include "codec/basis_restart.h"
#include "codec/projector.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

ByteSpan bytes_of(const at::Tensor& host) {
  return {static_cast<const std::byte*>(host.data_ptr()), static_cast<size_t>(host.nbytes())};
}

at::Tensor host_floats(const at::Tensor& x) {
  return x.detach().to(at::kCPU, at::kFloat).contiguous();
}

double squared_norm(const at::Tensor& x) {
  const at::Tensor flat = x.detach().reshape({-1});
  return at::dot(flat, flat).item<double>();
}

// What the two ends have in common: the same projector from the same seed, both packings, an
// anchor.
struct End {
  End(const EndOptions& options, const char* side)
      : projector(make_projector({.kind = options.codec.projector,
                                  .sends = std::string_view(side) == "sender",
                                  .boundary = options.boundary,
                                  .hidden_size = options.hidden_size,
                                  .rank = options.codec.rank,
                                  .seed = options.seed,
                                  .device = options.device})),
        prefix(fmt::format("boundary.{}.", options.boundary)),
        side(side),
        restart_steps(options.codec.basis_restart),
        one_sided(options.codec.basis_gradient == "sender"),
        hidden_size(options.hidden_size),
        device(options.device),
        anchor(options.anchor) {
    const bool is_sender = this->side == "sender";
    activation = leg(options, Leg::kActivation, is_sender);
    gradient = leg(options, Leg::kGradient, !is_sender);
    if (one_sided && !is_sender && basis().defined()) basis().requires_grad_(false);
  }

  std::unique_ptr<Packing> leg(const EndOptions& options, Leg leg, bool packs) const {
    const bool is_activation = leg == Leg::kActivation;
    PackingOptions chosen = packing_options(options.codec, projector->width());
    chosen.leg = leg;
    chosen.packs = packs;
    chosen.rows = options.rows;
    chosen.seed = derive_seed(options.seed, prefix + (is_activation ? "activation" : "gradient"));
    chosen.forward = is_activation ? nullptr : activation.get();
    return make_packing(is_activation ? options.codec.activation : options.codec.gradient, chosen);
  }

  at::Tensor basis() const { return projector->basis(); }

  int64_t basis_bytes() const {
    return basis().defined() ? basis().numel() * static_cast<int64_t>(sizeof(float)) : 0;
  }
  bool is_trained() const { return projector->rule().has_value(); }
  // Of the two syncs, what packings announce apart.
  int64_t half_bytes() const { return is_trained() && !one_sided ? basis_bytes() : 0; }
  int64_t update_bytes(uint64_t step) const {
    return is_trained() || BasisRestart::is_due(restart_steps, step) ? basis_bytes() : 0;
  }

  uint64_t state_hash() const {
    uint64_t hash =
        basis().defined() ? hash_bytes(bytes_of(host_floats(basis()))) : hash_bytes(ByteSpan());
    for (const Packing* leg : {activation.get(), gradient.get()}) {
      for (const at::Tensor& tensor : leg->shared()) hash = hash_bytes(bytes_of(tensor), hash);
    }
    return hash;
  }

  void commit() {
    activation->commit();
    gradient->commit();
  }
  void abort() {
    activation->abort();
    gradient->abort();
    if (basis().defined()) basis().mutable_grad().reset();
  }

  // A sync is values of the basis, then what the leg that this end packs announces.
  static Bytes joined(Bytes first, const Bytes& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
  }

  Result<at::Tensor> unpack(Packing& packing, ByteSpan bytes, int64_t rows,
                            const MessageKey& key) const {
    auto values = packing.unpack(bytes, rows, projector->width(), key);
    if (values.is_ok()) values.value() = values.value().to(device);
    return values;
  }

  // Bytes of a basis or of its gradient, checked; undefined for none.
  Result<at::Tensor> read_basis(ByteSpan bytes, const char* what) const {
    if (!bytes.empty() && static_cast<int64_t>(bytes.size()) != basis_bytes()) {
      return Status(Code::kCorrupt, fmt::format("{}{} takes {} bytes, {} arrived", prefix, what,
                                                basis_bytes(), bytes.size()));
    }
    if (bytes.empty()) return at::Tensor();
    at::Tensor values = torch::empty(basis().sizes(), torch::kFloat);
    std::memcpy(values.data_ptr(), bytes.data(), bytes.size());
    if (!values.isfinite().all().item<bool>()) {
      return Status(Code::kCorrupt,
                    fmt::format("{}{} holds a value that is not finite", prefix, what));
    }
    return values.to(basis().options().requires_grad(false));
  }

  void check_rows(const at::Tensor& x, int64_t columns, const at::Tensor& ids_N) const {
    MAPL_CHECK(x.dim() == 2 && x.size(1) == columns, "{}: rows of {} columns", prefix, columns);
    MAPL_CHECK(!anchor || (ids_N.dim() == 1 && ids_N.size(0) == x.size(0)),
               "{}: one id for each row", prefix);
  }

  // Cuts a sync of the other end in two, of the sizes given; kCorrupt on a wrong length.
  Result<std::pair<ByteSpan, ByteSpan>> split(ByteSpan bytes, int64_t values,
                                              int64_t announced) const {
    const int64_t expected = values + announced;
    if (static_cast<int64_t>(bytes.size()) != expected) {
      return Status(Code::kCorrupt, fmt::format("{}: a sync takes {} bytes, {} arrived", prefix,
                                                expected, bytes.size()));
    }
    const auto first = static_cast<size_t>(values);
    return std::pair(bytes.first(first), bytes.subspan(first));
  }

  // What this end trains for itself: all but the basis.
  std::vector<math::Parameter> own_parameters() const {
    std::vector<math::Parameter> all = projector->own_parameters();
    for (auto& own : all) own.name = prefix + side + "." + own.name;
    if (!anchor) return all;
    for (auto& parameter : anchor->parameters()) all.push_back(std::move(parameter));
    return all;
  }

  math::NamedTensors state() const {
    math::NamedTensors named;
    if (basis().defined()) named.emplace_back(prefix + side + ".basis", basis());
    for (auto& own : projector->own_parameters()) {
      named.emplace_back(prefix + side + "." + own.name, own.value);
    }
    for (const auto& [leg, name] :
         {std::pair(activation.get(), ".activation."), std::pair(gradient.get(), ".gradient.")}) {
      for (auto& [key, tensor] : leg->state())
        named.emplace_back(prefix + side + name + key, tensor);
    }
    if (anchor) {
      for (auto& tensor : anchor->state()) named.push_back(std::move(tensor));
    }
    return named;
  }

  std::unique_ptr<Projector> projector;
  std::string prefix;
  std::string side;
  int64_t restart_steps;
  bool one_sided;
  int64_t hidden_size;
  at::Device device;
  std::shared_ptr<Anchor> anchor;
  std::unique_ptr<Packing> activation;
  std::unique_ptr<Packing> gradient;
};

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
  return impl_->activation->pack(z_NR, key);
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
      impl_->split(bytes, impl_->half_bytes(), impl_->gradient->announced_bytes(step));
  if (!parts.is_ok()) return parts.status();
  auto half_DR = impl_->read_basis(parts.value().first, "basis gradient");
  if (!half_DR.is_ok()) return half_DR.status();
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
  if (BasisRestart::is_due(impl_->restart_steps, step) && impl_->restart.gathers()) {
    const at::NoGradGuard no_grad;
    impl_->basis().copy_(impl_->restart.directions(width()));
  }
  return End::joined(impl_->update_bytes(step) > 0 ? to_bytes(impl_->basis()) : Bytes(),
                     impl_->activation->announce(step));
}
int64_t SenderEnd::sync_bytes(uint64_t step) const {
  return impl_->update_bytes(step) + impl_->activation->announced_bytes(step);
}
int64_t SenderEnd::read_sync_bytes(uint64_t step) const {
  return impl_->half_bytes() + impl_->gradient->announced_bytes(step);
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
  if (!impl_->basis().defined()) return 1.0;
  const double kept = impl_->energy_kept.value_or(std::numeric_limits<double>::quiet_NaN());
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
  return impl_->unpack(*impl_->activation, bytes, rows, key);
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
  Bytes half(static_cast<size_t>(impl_->half_bytes()));
  if (!half.empty()) {
    at::Tensor basis_DR = impl_->basis();
    at::Tensor& half_DR = basis_DR.mutable_grad();
    if (half_DR.defined()) half = to_bytes(half_DR);
    half_DR.reset();
  }
  return End::joined(std::move(half), impl_->gradient->announce(step));
}

Status ReceiverEnd::read_sync(ByteSpan bytes, uint64_t step) {
  const auto parts =
      impl_->split(bytes, impl_->update_bytes(step), impl_->activation->announced_bytes(step));
  if (!parts.is_ok()) return parts.status();
  const Status status = impl_->activation->read_announced(parts.value().second, step);
  return status.is_ok() ? set_basis(parts.value().first) : status;
}
int64_t ReceiverEnd::sync_bytes(uint64_t step) const {
  return impl_->half_bytes() + impl_->gradient->announced_bytes(step);
}
int64_t ReceiverEnd::read_sync_bytes(uint64_t step) const {
  return impl_->update_bytes(step) + impl_->activation->announced_bytes(step);
}
void ReceiverEnd::commit() { impl_->commit(); }
void ReceiverEnd::abort() { impl_->abort(); }

uint64_t ReceiverEnd::state_hash() const { return impl_->state_hash(); }

std::vector<math::Parameter> ReceiverEnd::parameters() { return impl_->own_parameters(); }

math::NamedTensors ReceiverEnd::state() { return impl_->state(); }

}  // namespace mapl::codec
