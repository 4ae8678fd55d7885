#include "math/spel.h"

#include <torch/torch.h>

#include "math/polar.h"
#include "math/stiefel.h"

namespace mapl::math {

void Spel::update(const at::Tensor& gradient_DR, double lr_factor, State& state,
                  at::Tensor& basis_DR) const {
  at::NoGradGuard no_grad;
  // The projection is linear, so one takes care of the new gradient and of the old momentum, which
  // was tangent where A has been.
  state.momentum.mul_(options_.momentum).add_(gradient_DR, 1.0 - options_.momentum);
  state.momentum.copy_(tangent_projection(state.momentum, basis_DR));
  const auto direction = polar_express(state.momentum, options_.steps);
  basis_DR.copy_(polish(at::add(basis_DR, direction, -options_.lr * lr_factor)));
}

}  // namespace mapl::math
