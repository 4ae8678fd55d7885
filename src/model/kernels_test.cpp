#include "model/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mapl::model::kernels {
namespace {

// The exponential is good to 2 units in the last place (2.4e-7 of itself); the argument, a float32
// product, adds up to 88 times 6e-8.
TEST(Kernels, SoftmaxHoldsOverTheWholeRangeOfFloat) {
  std::vector<float> s;
  for (int i = 0; i <= 1000; ++i) s.push_back(-0.08f * static_cast<float>(i));
  const std::vector<float> x = s;
  float lse = 0;
  const double sum = softmax(s.data(), 1001, 1001, 1.0f, &lse);
  double exact = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = std::exp(static_cast<double>(x[i]));
    exact += want;
    EXPECT_NEAR(s[i], want, 3e-7 * want) << x[i];
  }
  EXPECT_NEAR(sum, exact, 1e-6 * exact);
  EXPECT_NEAR(lse, std::log(exact), 1e-6);
}

TEST(Kernels, SoftmaxHidesWhatARowMayNotSee) {
  std::vector<float> s = {1, 2, 3, 400, NAN};
  float lse = 0;
  EXPECT_NEAR(softmax(s.data(), 3, 5, 0.5f, &lse), 1 + std::exp(-0.5) + std::exp(-1.0), 1e-6);
  EXPECT_EQ(s[3], 0);
  EXPECT_EQ(s[4], 0);
}

TEST(Kernels, SoftmaxBackwardHidesWhatARowMayNotSee) {
  std::vector<float> s = {0, 0, NAN}, dp = {3, 1, NAN};
  softmax_backward(s.data(), dp.data(), 2, 3, 2.0f, std::log(2.0f), 2.0f);
  EXPECT_NEAR(s[0], 0.5, 1e-6);
  EXPECT_NEAR(dp[0], 0.5 * (3 - 2) * 2, 1e-6);
  EXPECT_NEAR(dp[1], 0.5 * (1 - 2) * 2, 1e-6);
  EXPECT_EQ(s[2], 0);
  EXPECT_EQ(dp[2], 0);
}

TEST(Kernels, SwigluDoesNotOverflow) {
  const std::vector<float> gate = {-1000, -90, 0, 90, 1000}, up(5, 1.0f);
  std::vector<float> a(5), dgate(5), da(5, 1.0f);
  swiglu(gate.data(), up.data(), 5, a.data());
  EXPECT_NEAR(a[0], 0, 1e-30);
  EXPECT_NEAR(a[1], 0, 1e-30);
  EXPECT_EQ(a[2], 0);
  EXPECT_EQ(a[3], 90);
  EXPECT_EQ(a[4], 1000);
  swiglu_backward(gate.data(), up.data(), 5, da.data(), a.data(), dgate.data());
  EXPECT_NEAR(dgate[0], 0, 1e-30);
  EXPECT_EQ(dgate[2], 0.5f);
  EXPECT_EQ(dgate[4], 1);
}

TEST(Kernels, CrossEntropyOfLargeLogitsIsFinite) {
  std::vector<float> logits = {1e30f, 0, -1e30f};
  EXPECT_EQ(cross_entropy(logits.data(), 3, 0, 1.0f), 0);
  EXPECT_NEAR(logits[0], 0, 1e-6);
  EXPECT_NEAR(logits[2], 0, 1e-30);
}

// Odd lengths leave a rest beside the vectors.
TEST(Kernels, SumsHoldAtEveryLength) {
  for (int64_t size = 1; size < 70; ++size) {
    std::vector<float> a(size), b(size, 2.0f);
    for (int64_t i = 0; i < size; ++i) a[i] = static_cast<float>(i + 1);
    EXPECT_EQ(dot(a.data(), b.data(), size), static_cast<float>(size * (size + 1)));
    add(a.data(), b.data(), size);
    scale(a.data(), size, 0.5f);
    EXPECT_EQ(a[size - 1], 0.5f * static_cast<float>(size + 2));
  }
}

}  // namespace
}  // namespace mapl::model::kernels
