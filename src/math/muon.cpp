#include "math/muon.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "math/polar.h"

namespace mapl::math {

void Muon::update(const at::Tensor& gradient, double lr_factor, double gradient_scale, State& state,
                  at::Tensor& value) const {
  at::NoGradGuard no_grad;
  const double mu = options_.momentum;
  const double weight = (1.0 - mu) * gradient_scale;
  const double lr = options_.lr * lr_factor;
  state.momentum.mul_(mu).add_(gradient, weight);
  const auto direction =
      options_.nesterov
          ? polar_express(at::mul(state.momentum, mu).add_(gradient, weight), options_.steps)
          : polar_express(state.momentum, options_.steps);
  if (options_.weight_decay != 0.0) value.mul_(1.0 - lr * options_.weight_decay);
  const double aspect = static_cast<double>(value.size(0)) / static_cast<double>(value.size(1));
  value.add_(direction, -lr * (options_.aspect ? std::sqrt(std::max(1.0, aspect)) : 1.0));
}

}  // namespace mapl::math
