// What the two ends of a boundary have in common (codec.h).
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "codec/basis_restart.h"
#include "codec/codec.h"
#include "codec/mean.h"
#include "codec/projector.h"

namespace mapl::codec {

inline ByteSpan bytes_of(const at::Tensor& host) {
  return {static_cast<const std::byte*>(host.data_ptr()), static_cast<size_t>(host.nbytes())};
}

inline at::Tensor host_floats(const at::Tensor& x) {
  return x.detach().to(at::kCPU, at::kFloat).contiguous();
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
        is_identity(options.codec.projector == "identity"),
        restart_steps(options.codec.basis_restart),
        interval(options.codec.basis_interval),
        one_sided(options.codec.basis_gradient == "sender"),
        hidden_size(options.hidden_size),
        device(options.device),
        anchor(options.anchor) {
    if (options.codec.subtract_mean) mean = std::make_unique<Mean>(projector->width(), device);
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
  // Whether the basis moves at the end of this step.
  bool moves_in(uint64_t step) const {
    return projector->rule().has_value() && (step + 1) % static_cast<uint64_t>(interval) == 0;
  }
  // Of the two syncs, what packings announce apart.
  int64_t half_bytes(uint64_t step) const {
    return moves_in(step) && !one_sided ? basis_bytes() : 0;
  }
  int64_t update_bytes(uint64_t step) const {
    return moves_in(step) || BasisRestart::is_due(restart_steps, step) ? basis_bytes() : 0;
  }
  int64_t mean_bytes() const { return mean ? mean->announced_bytes() : 0; }
  // Of the sync towards the loss.
  int64_t forward_bytes(uint64_t step) const {
    return update_bytes(step) + mean_bytes() + activation->announced_bytes(step);
  }
  int64_t most_forward_bytes() const {
    return basis_bytes() + mean_bytes() + activation->most_announced_bytes();
  }

  uint64_t state_hash() const {
    uint64_t hash =
        basis().defined() ? hash_bytes(bytes_of(host_floats(basis()))) : hash_bytes(ByteSpan());
    for (const Packing* leg : {activation.get(), gradient.get()}) {
      for (const at::Tensor& tensor : leg->shared()) hash = hash_bytes(bytes_of(tensor), hash);
    }
    return mean ? hash_bytes(bytes_of(host_floats(mean->value())), hash) : hash;
  }

  void commit() {
    activation->commit();
    gradient->commit();
    if (mean) mean->commit();
  }
  void abort() {
    activation->abort();
    gradient->abort();
    if (mean) mean->abort();
    drop_basis_gradient();
  }
  void drop_basis_gradient() {
    if (basis().defined()) basis().mutable_grad().reset();
  }

  // A sync is values of the basis, then (towards the loss) the mean, then what the leg that this
  // end packs announces.
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
    if (mean) named.emplace_back(prefix + side + ".mean", mean->value());
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
  bool is_identity;
  int64_t restart_steps;
  int64_t interval;
  bool one_sided;
  int64_t hidden_size;
  at::Device device;
  std::shared_ptr<Anchor> anchor;
  std::unique_ptr<Mean> mean;  // null: none
  std::unique_ptr<Packing> activation;
  std::unique_ptr<Packing> gradient;
};

}  // namespace mapl::codec
