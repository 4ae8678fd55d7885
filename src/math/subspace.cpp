#include "math/subspace.h"

#include <torch/torch.h>

namespace mapl::math {

HeldWeight::HeldWeight(const Parameter& weight, const Options& options)
    : weight_(weight.value), options_(options), parameter_(weight) {
  at::NoGradGuard no_grad;
  if (options_.reparametrised) {
    parameter_.value = coordinates_of(weight_).contiguous().requires_grad_();
  }
  after_load(/*coordinates_too=*/false);
}

void HeldWeight::zero_grad() { weight_.mutable_grad() = at::Tensor(); }

void HeldWeight::before_optimizer() {
  at::NoGradGuard no_grad;
  at::Tensor& gradient = weight_.mutable_grad();
  if (!options_.reparametrised || !gradient.defined()) return;
  const at::Tensor& u = options_.basis_DR;
  parameter_.value.mutable_grad() = options_.by_rows ? gradient.mm(u) : u.t().mm(gradient);
  gradient = at::Tensor();
}

void HeldWeight::after_optimizer() {
  at::NoGradGuard no_grad;
  weight_.copy_(weight_of(options_.reparametrised ? parameter_.value : coordinates_of(weight_)));
}

NamedTensors HeldWeight::state() const {
  if (!options_.reparametrised) return {};
  return {{parameter_.name + ".coordinates", parameter_.value}};
}

void HeldWeight::after_load(bool coordinates_too) {
  at::NoGradGuard no_grad;
  if (options_.reparametrised && !coordinates_too) {
    parameter_.value.copy_(coordinates_of(weight_));
  }
  // U U^T W of a W = U U^T V differs by what is rounded.
  constexpr double kRounded = 1e-5;
  const at::Tensor held =
      weight_of(options_.reparametrised ? parameter_.value : coordinates_of(weight_));
  const double moved = (held - weight_).abs().max().item<double>();
  const bool was_held = moved <= kRounded * weight_.abs().max().item<double>();
  if (options_.reparametrised || !was_held) weight_.copy_(held);
}

at::Tensor HeldWeight::coordinates_of(const at::Tensor& w) const {
  const at::Tensor free = options_.fixed.defined() ? w - options_.fixed : w;
  return options_.by_rows ? free.mm(options_.basis_DR) : options_.basis_DR.t().mm(free);
}

at::Tensor HeldWeight::weight_of(const at::Tensor& coordinates) const {
  const at::Tensor& u = options_.basis_DR;
  const at::Tensor held = options_.by_rows ? coordinates.mm(u.t()) : u.mm(coordinates);
  return options_.fixed.defined() ? held + options_.fixed : held;
}

}  // namespace mapl::math
