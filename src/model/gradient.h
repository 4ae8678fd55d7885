// Gradients of weights, added where the optimisers find them.
//
// WHY not through autograd's own accumulation: a product that adds to grad() as it is computed
// needs no buffer and one pass less over every weight of every micro-batch. Autograd sees these
// weights as inputs that receive nothing, so torch::autograd::grad() cannot ask for them;
// backward() fills grad().
#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::model {

// weight.grad() += dy^T x, where y_NO = x_NI weight_OI^T.
void add_product(const at::Tensor& weight_OI, const at::Tensor& dy_NO, const at::Tensor& x_NI);

// weight.grad() += gradient. Takes the tensor over when there is no gradient yet.
void add_gradient(const at::Tensor& weight, const at::Tensor& gradient);

}  // namespace mapl::model
