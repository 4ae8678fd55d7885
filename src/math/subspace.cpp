#include "math/subspace.h"

#include <torch/torch.h>

namespace mapl::math {

HeldWeight::HeldWeight(const Parameter& weight, const Options& options)
    : weight_(weight.value), options_(options), parameter_(weight) {
  at::NoGradGuard no_grad;
  if (options_.reparametrised) {
    parameter_.value = coordinates_of(weight_).contiguous().requires_grad_();
  }
  after_load();
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

void HeldWeight::after_load() {
  at::NoGradGuard no_grad;
  if (options_.reparametrised) parameter_.value.copy_(coordinates_of(weight_));
  after_optimizer();
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
