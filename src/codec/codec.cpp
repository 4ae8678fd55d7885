#include "codec/codec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/check.h"
#include "codec/projector.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

void require_known(const char* key, const std::string& value,
                   const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  throw UserError(
      fmt::format("unknown boundary.{} \"{}\"; known: {}", key, value, fmt::join(known, ", ")));
}

void require_rank(const char* key, int64_t rank, int64_t hidden_size) {
  if (rank >= 1 && rank <= hidden_size) return;
  throw UserError(fmt::format("boundary.{} is {}; it must be in 1..{} (model.hidden_size)", key,
                              rank, hidden_size));
}

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

}  // namespace

void validate(const Options& options, int64_t hidden_size) {
  require_known("projector", options.projector, projector_names());
  require_known("anchor", options.anchor, anchor_names());
  require_known("anchor_sharing", options.anchor_sharing, {"end", "stage"});
  require_known("activation", options.activation, packing_names());
  require_known("gradient", options.gradient, packing_names());
  const bool anchor_takes_rank = options.anchor == "factorized" && options.anchor_rank == 0;
  if (options.projector != "identity" || anchor_takes_rank) {
    require_rank("rank", options.rank, hidden_size);
  }
  if (options.anchor_rank != 0) require_rank("anchor_rank", options.anchor_rank, hidden_size);
  make_packing(options.activation, {.group_size = options.group_size});
}

namespace {

// What the two ends have in common: the same projector from the same seed, both packings, an
// anchor.
struct End {
  explicit End(const EndOptions& options)
      : projector({.kind = options.codec.projector,
                   .boundary = options.boundary,
                   .hidden_size = options.hidden_size,
                   .rank = options.codec.rank,
                   .seed = options.seed,
                   .device = options.device}),
        prefix(fmt::format("boundary.{}.", options.boundary)),
        hidden_size(options.hidden_size),
        device(options.device),
        anchor(options.anchor),
        activation(
            make_packing(options.codec.activation, packing_options(options, Leg::kActivation))),
        gradient(make_packing(options.codec.gradient, packing_options(options, Leg::kGradient))) {}

  static PackingOptions packing_options(const EndOptions& options, Leg leg) {
    return {.leg = leg, .group_size = options.codec.group_size};
  }

  const at::Tensor& basis() const { return projector.basis(); }

  // Of what is synchronised: nothing, unless the basis is trained.
  int64_t sync_bytes() const {
    return projector.rule() ? basis().numel() * static_cast<int64_t>(sizeof(float)) : 0;
  }

  uint64_t state_hash() const {
    return basis().defined() ? hash_bytes(bytes_of(host_floats(basis()))) : hash_bytes(ByteSpan());
  }

  Result<at::Tensor> unpack(Packing& packing, ByteSpan bytes, int64_t rows) const {
    auto values = packing.unpack(bytes, rows, projector.width());
    if (values.is_ok()) values.value() = values.value().to(device);
    return values;
  }

  // Bytes of a basis or of its gradient, checked; undefined when nothing is synchronised.
  Result<at::Tensor> read_sync(ByteSpan bytes, const char* what) const {
    if (static_cast<int64_t>(bytes.size()) != sync_bytes()) {
      return Status(Code::kCorrupt, fmt::format("{}{} takes {} bytes, {} arrived", prefix, what,
                                                sync_bytes(), bytes.size()));
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

  math::NamedTensors state(const char* side) const {
    math::NamedTensors named;
    if (basis().defined()) named.emplace_back(prefix + side + ".basis", basis());
    if (anchor) {
      for (auto& tensor : anchor->state()) named.push_back(std::move(tensor));
    }
    return named;
  }

  Projector projector;
  std::string prefix;
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

struct SenderEnd::Impl : End {
  using End::End;
  std::optional<double> energy_kept;  // of the first micro-batch since it was asked for
};

SenderEnd::SenderEnd(const EndOptions& options) : impl_(std::make_unique<Impl>(options)) {}
SenderEnd::~SenderEnd() = default;

int64_t SenderEnd::width() const { return impl_->projector.width(); }
int64_t SenderEnd::activation_bytes(int64_t rows) const {
  return impl_->activation->packed_bytes(rows, width());
}
int64_t SenderEnd::gradient_bytes(int64_t rows) const {
  return impl_->gradient->packed_bytes(rows, width());
}
int64_t SenderEnd::basis_bytes() const { return impl_->sync_bytes(); }
int64_t SenderEnd::basis_gradient_bytes() const { return impl_->sync_bytes(); }

at::Tensor SenderEnd::project(const at::Tensor& x_ND, const at::Tensor& ids_N) {
  impl_->check_rows(x_ND, impl_->hidden_size, ids_N);
  const at::Tensor z_NR = impl_->projector.project(x_ND, ids_N, impl_->anchor.get());
  if (!impl_->energy_kept && impl_->basis().defined()) {
    at::NoGradGuard no_grad;
    const double whole = squared_norm(impl_->anchor ? x_ND - impl_->anchor->lookup(ids_N) : x_ND);
    impl_->energy_kept = whole > 0 ? squared_norm(z_NR) / whole : 1.0;
  }
  return z_NR;
}

Bytes SenderEnd::pack(const at::Tensor& z_NR, const MessageKey& key) {
  return impl_->activation->pack(z_NR, key);
}

Result<at::Tensor> SenderEnd::unpack_gradient(ByteSpan bytes, int64_t rows) {
  return impl_->unpack(*impl_->gradient, bytes, rows);
}

Status SenderEnd::add_basis_gradient(ByteSpan bytes) {
  auto half_DR = impl_->read_sync(bytes, "basis gradient");
  if (!half_DR.is_ok() || bytes.empty()) return half_DR.status();
  at::Tensor basis_DR = impl_->basis();
  at::Tensor& sum_DR = basis_DR.mutable_grad();
  if (sum_DR.defined()) {
    sum_DR.add_(half_DR.value());
  } else {
    sum_DR = half_DR.value();
  }
  return Status::ok();
}

Bytes SenderEnd::basis() const { return basis_bytes() > 0 ? to_bytes(impl_->basis()) : Bytes(); }

uint64_t SenderEnd::state_hash() const { return impl_->state_hash(); }

std::vector<math::Parameter> SenderEnd::parameters() {
  std::vector<math::Parameter> all;
  if (const auto rule = impl_->projector.rule()) {
    all.push_back({impl_->prefix + "sender.basis", impl_->basis(), *rule});
  }
  if (impl_->anchor) {
    for (auto& parameter : impl_->anchor->parameters()) all.push_back(std::move(parameter));
  }
  return all;
}

math::NamedTensors SenderEnd::state() { return impl_->state("sender"); }

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
  using End::End;
};

ReceiverEnd::ReceiverEnd(const EndOptions& options) : impl_(std::make_unique<Impl>(options)) {}
ReceiverEnd::~ReceiverEnd() = default;

int64_t ReceiverEnd::width() const { return impl_->projector.width(); }
int64_t ReceiverEnd::activation_bytes(int64_t rows) const {
  return impl_->activation->packed_bytes(rows, width());
}
int64_t ReceiverEnd::gradient_bytes(int64_t rows) const {
  return impl_->gradient->packed_bytes(rows, width());
}
int64_t ReceiverEnd::basis_bytes() const { return impl_->sync_bytes(); }
int64_t ReceiverEnd::basis_gradient_bytes() const { return impl_->sync_bytes(); }

Result<at::Tensor> ReceiverEnd::unpack(ByteSpan bytes, int64_t rows) {
  return impl_->unpack(*impl_->activation, bytes, rows);
}

at::Tensor ReceiverEnd::restore(const at::Tensor& z_NR, const at::Tensor& ids_N) {
  impl_->check_rows(z_NR, width(), ids_N);
  return impl_->projector.restore(z_NR, ids_N, impl_->anchor.get());
}

Bytes ReceiverEnd::pack_gradient(const at::Tensor& grad_NR, const MessageKey& key) {
  return impl_->gradient->pack(grad_NR, key);
}

Bytes ReceiverEnd::basis_gradient() {
  if (basis_gradient_bytes() == 0) return {};
  at::Tensor basis_DR = impl_->basis();
  at::Tensor& half_DR = basis_DR.mutable_grad();
  if (!half_DR.defined()) return Bytes(basis_gradient_bytes());
  Bytes bytes = to_bytes(half_DR);
  half_DR.reset();
  return bytes;
}

Status ReceiverEnd::set_basis(ByteSpan bytes) {
  const auto basis_DR = impl_->read_sync(bytes, "basis");
  if (!basis_DR.is_ok() || bytes.empty()) return basis_DR.status();
  at::NoGradGuard no_grad;
  impl_->basis().copy_(basis_DR.value());
  return Status::ok();
}

uint64_t ReceiverEnd::state_hash() const { return impl_->state_hash(); }

std::vector<math::Parameter> ReceiverEnd::parameters() {
  return impl_->anchor ? impl_->anchor->parameters() : std::vector<math::Parameter>();
}

math::NamedTensors ReceiverEnd::state() { return impl_->state("receiver"); }

}  // namespace mapl::codec
