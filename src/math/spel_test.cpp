#include "math/spel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "math/polar.h"
#include "math/test_matrices.h"

namespace mapl::math {
namespace {

Spel::State fresh(const at::Tensor& basis) { return {at::zeros_like(basis)}; }

struct Case {
  int64_t rows, columns;
  double lr;
  int steps;
};

class SpelInvariant : public testing::TestWithParam<Case> {};

TEST_P(SpelInvariant, BasisStaysOnTheManifoldAfterEveryStep) {
  const auto [rows, columns, lr, steps] = GetParam();
  const Spel spel({.lr = lr});
  auto basis = random_stiefel(rows, columns, 1);
  auto state = fresh(basis);
  double worst = 0.0;
  for (int step = 0; step < steps; ++step) {
    // Steps differ in direction and, by a factor 100, in size.
    const auto gradient = gaussian(rows, columns, 100 + step).to(at::kFloat);
    spel.update(gradient * std::pow(10.0, step % 3), 1.0, state, basis);
    const double error = orthogonality_error(basis);
    ASSERT_LE(error, 1e-6) << "step " << step;
    worst = std::max(worst, error);
  }
  std::printf("%lld x %lld, lr %g, %d steps: worst orthogonality %.1e\n",
              static_cast<long long>(rows), static_cast<long long>(columns), lr, steps, worst);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SpelInvariant,
                         testing::Values(Case{128, 32, 0.002, 1000}, Case{128, 32, 0.1, 1000},
                                         Case{48, 32, 0.1, 1000}, Case{8, 1, 0.1, 1000},
                                         Case{16, 16, 0.3, 1000}, Case{256, 64, 0.002, 1000},
                                         Case{1024, 128, 0.02, 20}));

// The update of docs/maths/spel.md in float64 with an SVD for both polar factors.
TEST(Spel, FollowsTheReferenceInFloat64) {
  const Spel spel({.lr = 0.05, .momentum = 0.8});
  auto basis = random_stiefel(96, 24, 1);
  auto state = fresh(basis);
  auto a = basis.to(at::kDouble);
  auto m = at::zeros_like(a);
  for (int step = 0; step < 5; ++step) {
    const auto g = gaussian(96, 24, 50 + step);
    const double lr_factor = 1.0 - 0.1 * step;
    spel.update(g.to(at::kFloat), lr_factor, state, basis);
    m = 0.8 * m + 0.2 * g;
    const auto inner = a.t().mm(m);
    m = m - a.mm(0.5 * (inner + inner.t()));
    const auto y = exact_svd(a - 0.05 * lr_factor * reference_direction(m));
    a = y.u.mm(y.vt);
  }
  // Five steps of float32 products, each amplified by the direction's condition (about 3 here).
  EXPECT_LE(max_abs(basis.to(at::kDouble) - a), 2e-6);
  EXPECT_LE(max_abs(state.momentum.to(at::kDouble) - m), 1e-5);
}

TEST(Spel, FindsTheLeadingSubspace) {
  // f(A) = -tr(A^T S A) / 2 over bases: the minimum is the span of the leading eigenvectors of S.
  const auto frame = random_stiefel(40, 40, 1).to(at::kDouble);
  const auto values = at::cat({at::full({4}, 3.0, at::kDouble), at::ones({36}, at::kDouble)});
  const auto s = (frame * values).mm(frame.t()).to(at::kFloat);
  const Spel spel({.lr = 0.1});
  auto basis = random_stiefel(40, 4, 2);
  auto state = fresh(basis);
  for (int step = 0; step < 200; ++step) {
    spel.update(-s.mm(basis), 1.0 - step / 200.0, state, basis);
  }
  const auto leading = frame.narrow(1, 0, 4).to(at::kFloat);
  EXPECT_LE(max_abs(principal_angles(basis, leading)), 0.01);  // the last steps are of 0.0005 rad
}

TEST(Spel, TurnsNoDirectionByMoreThanTheRate) {
  const Spel spel({.lr = 0.05});
  auto basis = random_stiefel(96, 24, 1);
  const auto before = basis.clone();
  auto state = fresh(basis);
  spel.update(gaussian(96, 24, 2).to(at::kFloat), 1.0, state, basis);
  const double turned = max_abs(principal_angles(before, basis));
  EXPECT_LE(turned, 0.05 * 1.01);  // the direction's singular values exceed one by up to 0.2 %
  EXPECT_GT(turned, 0.02);
}

TEST(Spel, DoesNotDependOnTheSizeOfTheGradient) {
  const Spel spel({.lr = 0.05});
  auto a = random_stiefel(96, 24, 1);
  auto b = a.clone();
  auto state_a = fresh(a);
  auto state_b = fresh(b);
  const auto gradient = gaussian(96, 24, 2).to(at::kFloat);
  spel.update(gradient, 1.0, state_a, a);
  spel.update(gradient * 1e-6, 1.0, state_b, b);
  EXPECT_LE(max_abs(a - b), 1e-6);
}

TEST(Spel, StandsStillWithoutAGradient) {
  const Spel spel({});
  auto basis = random_stiefel(96, 24, 1);
  const auto before = basis.clone();
  auto state = fresh(basis);
  spel.update(at::zeros_like(basis), 1.0, state, basis);
  EXPECT_TRUE(at::equal(basis, before));
}

TEST(Spel, ShowsAGradientThatIsNotFinite) {
  const Spel spel({});
  auto basis = random_stiefel(96, 24, 1);
  auto state = fresh(basis);
  auto gradient = gaussian(96, 24, 2).to(at::kFloat);
  gradient[5][5] = std::nanf("");
  spel.update(gradient, 1.0, state, basis);
  EXPECT_TRUE(std::isnan(orthogonality_error(basis)));
}

}  // namespace
}  // namespace mapl::math
