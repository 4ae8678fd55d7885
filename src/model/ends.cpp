#include "model/ends.h"

#include <torch/torch.h>

#include "model/norm.h"

namespace mapl::model {

at::Tensor embed(const at::Tensor& weight_VD, const at::Tensor& ids) {
  return torch::embedding(weight_VD, ids.flatten());
}

at::Tensor head_loss(const Head& head, const at::Tensor& x_ND, const at::Tensor& targets_N,
                     double divisor) {
  const at::Tensor logits = torch::mm(rms_norm(x_ND, head.norm_D, head.eps), head.weight_VD.t());
  return torch::nll_loss(torch::log_softmax(logits, -1), targets_N, {}, at::Reduction::Sum) /
         divisor;
}

}  // namespace mapl::model
