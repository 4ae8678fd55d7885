#include "model/gradient.h"

#include <torch/torch.h>

namespace mapl::model {

void add_product(const at::Tensor& weight_OI, const at::Tensor& dy_NO, const at::Tensor& x_NI) {
  at::Tensor& grad = weight_OI.mutable_grad();
  if (grad.defined()) {
    grad.addmm_(dy_NO.t(), x_NI);
  } else {
    grad = at::mm(dy_NO.t(), x_NI);
  }
}

void add_gradient(const at::Tensor& weight, const at::Tensor& gradient) {
  at::Tensor& grad = weight.mutable_grad();
  if (grad.defined()) {
    grad.add_(gradient);
  } else {
    grad = gradient;
  }
}

}  // namespace mapl::model
