// The two ends of a LLaMA: token ids in, loss out.
#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::model {

// Rows of the embedding.
//   weight_VD  [V, D], float32
//   ids        int64, any shape, each in [0, V)
//   returns    [number of ids, D]
at::Tensor embed(const at::Tensor& weight_VD, const at::Tensor& ids);

// Final norm, head and the sum of the cross entropy over all rows, divided by `divisor`.
//   x_ND       [N, D]
//   targets_N  [N], int64, each in [0, V)
//   returns    scalar
struct Head {
  at::Tensor norm_D, weight_VD;
  double eps = 1e-5;
};
at::Tensor head_loss(const Head& head, const at::Tensor& x_ND, const at::Tensor& targets_N,
                     double divisor);

}  // namespace mapl::model
