#include "math/muon.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

struct Case {
  int64_t rows, columns;
  bool nesterov;
  double weight_decay;
};

class MuonReference : public testing::TestWithParam<Case> {};

TEST_P(MuonReference, FollowsTheEquationsInFloat64) {
  const auto [rows, columns, nesterov, weight_decay] = GetParam();
  const Muon muon({.nesterov = nesterov, .weight_decay = weight_decay});
  auto value = gaussian(rows, columns, 1).to(at::kFloat);
  Muon::State state{at::zeros_like(value)};
  auto w = value.to(at::kDouble);
  auto m = at::zeros_like(w);
  const double scale = 0.5;  // of the gradient
  const double aspect = std::max(1.0, static_cast<double>(rows) / columns);
  for (int step = 0; step < 3; ++step) {
    const auto g = gaussian(rows, columns, 10 + step).to(at::kFloat);
    const double lr_factor = 1.0 - 0.2 * step;
    muon.update(g, lr_factor, scale, state, value);
    m = 0.95 * m + 0.05 * scale * g.to(at::kDouble);
    const auto u = nesterov ? 0.05 * scale * g.to(at::kDouble) + 0.95 * m : m;
    const double lr = 0.02 * lr_factor;
    w = (1.0 - lr * weight_decay) * w - lr * std::sqrt(aspect) * reference_direction(u);
  }
  EXPECT_LE(max_abs(state.momentum.to(at::kDouble) - m), 1e-6);
  // The direction is right to 1e-3 where its input is badly conditioned (square Gaussians: about
  // 500); three steps of 0.02, and the rounding of values up to 4.
  EXPECT_LE(max_abs(value.to(at::kDouble) - w), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MuonReference,
                         testing::Values(Case{96, 96, true, 0.0}, Case{96, 40, true, 0.1},
                                         Case{40, 96, true, 0.0}, Case{130, 48, false, 0.0}));

TEST(Muon, MovesNothingOnAZeroGradient) {
  const Muon muon({});
  auto value = gaussian(20, 10, 1).to(at::kFloat);
  const auto before = value.clone();
  Muon::State state{at::zeros_like(value)};
  muon.update(at::zeros_like(value), 1.0, 1.0, state, value);
  EXPECT_TRUE(at::equal(value, before));
}

TEST(Muon, ShowsAGradientThatIsNotFinite) {
  const Muon muon({});
  auto value = gaussian(20, 10, 1).to(at::kFloat);
  Muon::State state{at::zeros_like(value)};
  auto gradient = at::ones_like(value);
  gradient[3][3] = std::numeric_limits<float>::infinity();
  muon.update(gradient, 1.0, 1.0, state, value);
  EXPECT_TRUE(at::isnan(value).all().item<bool>());
}

}  // namespace
}  // namespace mapl::math
