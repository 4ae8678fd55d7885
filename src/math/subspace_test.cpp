#include "math/subspace.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "math/optimizer.h"
#include "math/stiefel.h"
#include "math/test_matrices.h"

namespace mapl::math {
namespace {

constexpr int64_t kWidth = 12;

at::Tensor basis() { return random_stiefel(kWidth, 3, 5); }

Parameter weight(bool by_rows, Rule rule = Rule::kAdamW) {
  const at::Tensor value = by_rows ? gaussian(20, kWidth, 1) : gaussian(kWidth, 7, 1);
  return {"w", value.to(at::kFloat).requires_grad_(), rule};
}

// What of W - fixed lies outside of span(U).
double outside(const at::Tensor& w, bool by_rows, const at::Tensor& fixed = {}) {
  const at::Tensor free = (fixed.defined() ? w - fixed : w).detach();
  const at::Tensor columns = by_rows ? free.t() : free;
  return (columns - basis().mm(basis().t().mm(columns))).abs().max().item<double>();
}

void set_gradient(const at::Tensor& value, uint64_t seed) {
  at::Tensor(value).mutable_grad() = gaussian(value.size(0), value.size(1), seed).to(at::kFloat);
}

TEST(HeldWeight, StaysInTheSubspaceWhateverTheOptimiserDoes) {
  for (const bool by_rows : {false, true}) {
    for (const bool reparametrised : {false, true}) {
      const Parameter w = weight(by_rows);
      const at::Tensor fixed = by_rows ? w.value.detach().clone() : at::Tensor();
      HeldWeight held(w, {.basis_DR = basis(),
                          .by_rows = by_rows,
                          .fixed = fixed,
                          .reparametrised = reparametrised});
      EXPECT_LT(outside(w.value, by_rows, fixed), 1e-5);
      Optimizer optimizer({held.parameter()}, {});
      const at::Tensor start = w.value.detach().clone();
      for (uint64_t step = 0; step < 5; ++step) {
        optimizer.zero_grad();
        held.zero_grad();
        set_gradient(w.value, step);
        held.before_optimizer();
        optimizer.step(1.0, 1.0);
        held.after_optimizer();
        EXPECT_LT(outside(w.value, by_rows, fixed), 1e-5) << by_rows << reparametrised;
      }
      EXPECT_GT((w.value - start).abs().max().item<double>(), 1e-3);
    }
  }
}

// The chain rule by autograd: W = U C.
TEST(HeldWeight, TheGradientOfTheCoordinatesIsThatOfTheChainRule) {
  const Parameter w = weight(false, Rule::kMuon);
  HeldWeight held(w, {.basis_DR = basis(), .reparametrised = true});
  EXPECT_EQ(held.parameter().name, "w");
  EXPECT_EQ(held.parameter().rule, Rule::kMuon);
  EXPECT_EQ(held.parameter().value.sizes(), torch::IntArrayRef({3, 7}));
  const at::Tensor c = held.parameter().value.detach().clone().requires_grad_();
  const at::Tensor x = gaussian(4, 7, 9).to(at::kFloat);
  torch::tanh(x.mm(basis().mm(c).t())).square().sum().backward();
  torch::tanh(x.mm(w.value.t())).square().sum().backward();
  held.before_optimizer();
  EXPECT_TRUE(torch::allclose(held.parameter().value.grad(), c.grad(), 1e-4, 1e-5));
  EXPECT_FALSE(w.value.grad().defined());
}

TEST(HeldWeight, TakesWhatIsLoaded) {
  const Parameter w = weight(false);
  HeldWeight held(w, {.basis_DR = basis(), .reparametrised = true});
  const at::Tensor loaded = basis().mm(gaussian(3, 7, 8).to(at::kFloat));
  {
    at::NoGradGuard no_grad;
    at::Tensor(w.value).copy_(loaded);
  }
  held.after_load(/*coordinates_too=*/false);
  EXPECT_TRUE(torch::allclose(w.value, loaded, 1e-5, 1e-5));
  held.after_optimizer();
  EXPECT_TRUE(torch::allclose(w.value, loaded, 1e-5, 1e-5));
}

// A run that goes on is the run that did not stop.
TEST(HeldWeight, WhatWasSavedComesBackToTheLastBit) {
  for (const bool reparametrised : {false, true}) {
    const Parameter w = weight(false);
    HeldWeight held(w, {.basis_DR = basis(), .reparametrised = reparametrised});
    Optimizer optimizer({held.parameter()}, {});
    set_gradient(w.value, 3);
    held.before_optimizer();
    optimizer.step(1.0, 1.0);
    held.after_optimizer();

    const Parameter other = weight(false);
    HeldWeight again(other, {.basis_DR = basis(), .reparametrised = reparametrised});
    {
      at::NoGradGuard no_grad;
      at::Tensor(other.value).copy_(w.value);
      auto into = again.state();
      const auto from = held.state();
      ASSERT_EQ(into.size(), reparametrised ? 1u : 0u);
      for (size_t i = 0; i < from.size(); ++i) into[i].second.copy_(from[i].second);
    }
    again.after_load(/*coordinates_too=*/true);
    EXPECT_TRUE(other.value.equal(w.value)) << reparametrised;
    EXPECT_TRUE(again.parameter().value.equal(held.parameter().value)) << reparametrised;
  }
}

// The basis of a boundary is loaded too, and belongs to both.
TEST(HeldWeight, KnowsTheBasisThatIsThereNow) {
  const at::Tensor u = basis().clone();
  const Parameter w = weight(false);
  HeldWeight held(w, {.basis_DR = u});
  u.copy_(random_stiefel(kWidth, 3, 6));
  const at::Tensor loaded = u.mm(gaussian(3, 7, 8).to(at::kFloat));
  {
    at::NoGradGuard no_grad;
    at::Tensor(w.value).copy_(loaded);
  }
  held.after_load(/*coordinates_too=*/false);
  EXPECT_TRUE(w.value.equal(loaded));
}

}  // namespace
}  // namespace mapl::math
