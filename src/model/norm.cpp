#include "model/norm.h"

#include <torch/torch.h>

namespace mapl::model {

at::Tensor rms_norm(const at::Tensor& x_ND, const at::Tensor& gain_D, double eps) {
  return x_ND * torch::rsqrt(x_ND.pow(2).mean(-1, true) + eps) * gain_D;
}

}  // namespace mapl::model
