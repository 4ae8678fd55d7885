#include "codec/projector.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include <algorithm>

#include "base/rng.h"
#include "base/status.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

struct Kind {
  const char* name;
  bool has_basis;
  std::optional<math::Rule> rule;
};

// The list: one line for each projector.
constexpr Kind kKinds[] = {
    {"identity", false, std::nullopt},
    {"frozen", true, std::nullopt},
    {"free", true, math::Rule::kMuon},
    {"stiefel", true, math::Rule::kSpel},
};

const Kind& find_kind(const std::string& name) {
  for (const Kind& kind : kKinds) {
    if (name == kind.name) return kind;
  }
  throw UserError(fmt::format("unknown boundary.projector \"{}\"; known: {}", name,
                              fmt::join(projector_names(), ", ")));
}

}  // namespace

Projector::Projector(const Options& options) {
  const Kind& kind = find_kind(options.kind);
  width_ = kind.has_basis ? options.rank : options.hidden_size;
  rule_ = kind.rule;
  if (!kind.has_basis) return;
  const uint64_t seed =
      derive_seed(options.seed, fmt::format("boundary.{}.basis", options.boundary));
  basis_DR_ = math::random_stiefel(options.hidden_size, options.rank, seed)
                  .to(at::Device(options.device))
                  .contiguous()
                  .requires_grad_(rule_.has_value());
}

at::Tensor Projector::project(const at::Tensor& x_ND, const at::Tensor& ids_N,
                              Anchor* anchor) const {
  if (!basis_DR_.defined()) return anchor ? x_ND - anchor->lookup(ids_N) : x_ND;
  return anchor ? anchor->project_residual(x_ND, ids_N, basis_DR_) : x_ND.mm(basis_DR_);
}

at::Tensor Projector::restore(const at::Tensor& z_NR, const at::Tensor& ids_N,
                              Anchor* anchor) const {
  // In place: the anchor is new memory, and adding to it saves a copy at full width.
  if (!basis_DR_.defined()) return anchor ? anchor->lookup(ids_N).add_(z_NR) : z_NR;
  const at::Tensor back_RD = basis_DR_.t();
  return anchor ? anchor->lookup(ids_N).addmm_(z_NR, back_RD) : z_NR.mm(back_RD);
}

std::vector<std::string> projector_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

}  // namespace mapl::codec
