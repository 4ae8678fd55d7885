#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::model {

at::Tensor rms_norm(const at::Tensor& x_ND, const at::Tensor& gain_D, double eps);

}  // namespace mapl::model
