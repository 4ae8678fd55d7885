#include "math/adamw.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

void compare_with_torch(at::Tensor value, double tolerance) {
  const AdamW::Options options = {.lr = 0.01, .eps = 1e-8, .weight_decay = 0.1};
  auto theirs = value.detach().clone(at::MemoryFormat::Contiguous).requires_grad_();
  torch::optim::AdamW reference({theirs}, torch::optim::AdamWOptions(options.lr)
                                              .betas({options.beta1, options.beta2})
                                              .eps(options.eps)
                                              .weight_decay(options.weight_decay));
  const AdamW adamw(options);
  AdamW::State state{at::zeros_like(value), at::zeros_like(value), 0};
  for (int step = 0; step < 50; ++step) {
    // Sizes from 1e-6 to 1: what rare and frequent tokens see.
    const auto columns = at::logspace(-6.0, 0.0, value.size(1));
    const auto gradient = gaussian(value.size(0), value.size(1), step).to(at::kFloat) * columns;
    adamw.update(gradient * 4.0, 1.0, 0.25, state, value);
    theirs.mutable_grad() = gradient;
    reference.step();
  }
  EXPECT_EQ(state.step, 50);
  EXPECT_LE(max_abs(value - theirs.detach()), tolerance);
}

TEST(AdamW, AgreesWithTorchInTheFusedLoop) {
  // Fifty float32 steps of 0.01 on values of size one: one unit in the last place each, and the
  // order of operations differs.
  compare_with_torch(gaussian(37, 19, 99).to(at::kFloat), 3e-6);
}

TEST(AdamW, AgreesWithTorchInTensorOperations) {
  // A transposed tensor is not contiguous and so takes the path of other devices.
  compare_with_torch(gaussian(19, 37, 99).to(at::kFloat).t(), 3e-6);
}

TEST(AdamW, ZeroGradientMovesNothing) {
  const AdamW adamw({});
  auto value = at::ones({5, 7});
  AdamW::State state{at::zeros_like(value), at::zeros_like(value), 0};
  adamw.update(at::zeros_like(value), 1.0, 1.0, state, value);
  EXPECT_TRUE(at::equal(value, at::ones({5, 7})));
}

TEST(AdamW, FirstStepIsTheRateTimesTheSign) {
  const AdamW adamw({.lr = 0.5});
  auto value = at::zeros({3});
  AdamW::State state{at::zeros_like(value), at::zeros_like(value), 0};
  adamw.update(at::tensor({2.0F, -0.001F, 1e-5F}), 0.5, 1.0, state, value);
  EXPECT_LE(max_abs(value - at::tensor({-0.25F, 0.25F, -0.25F})), 1e-5);  // eps / 1e-5
}

}  // namespace
}  // namespace mapl::math
