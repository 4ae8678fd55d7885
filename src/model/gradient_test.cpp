#include "model/gradient.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace mapl::model {
namespace {

TEST(Gradient, ProductsAddUp) {
  const at::Tensor weight = torch::zeros({2, 3}).requires_grad_(true);
  const at::Tensor dy = torch::tensor({{1.f, 2.f}}), x = torch::tensor({{3.f, 4.f, 5.f}});
  const torch::NoGradGuard no_grad;
  add_product(weight, dy, x);
  const at::Tensor once = torch::tensor({{3.f, 4.f, 5.f}, {6.f, 8.f, 10.f}});
  EXPECT_TRUE(weight.grad().equal(once));
  const void* memory = weight.grad().data_ptr();
  add_product(weight, dy, x);
  EXPECT_TRUE(weight.grad().equal(once * 2));
  EXPECT_EQ(weight.grad().data_ptr(), memory);
}

TEST(Gradient, TensorsAddUp) {
  const at::Tensor weight = torch::zeros({3}).requires_grad_(true);
  const torch::NoGradGuard no_grad;
  add_gradient(weight, torch::ones({3}));
  add_gradient(weight, torch::ones({3}) * 2);
  EXPECT_TRUE(weight.grad().equal(torch::ones({3}) * 3));
}

}  // namespace
}  // namespace mapl::model
