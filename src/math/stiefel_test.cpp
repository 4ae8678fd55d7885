#include "math/stiefel.h"

#include <gtest/gtest.h>

#include <cmath>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

TEST(Stiefel, RandomBasisIsOrthonormalAndAFunctionOfTheSeed) {
  const auto a = random_stiefel(512, 64, 1);
  EXPECT_LE(orthogonality_error(a), 2e-7);
  EXPECT_TRUE(at::equal(a, random_stiefel(512, 64, 1)));
  EXPECT_FALSE(at::equal(a, random_stiefel(512, 64, 2)));
  EXPECT_EQ(a.scalar_type(), at::kFloat);
}

TEST(Stiefel, RandomBasisMayBeSquare) {
  EXPECT_LE(orthogonality_error(random_stiefel(32, 32, 1)), 2e-7);
  EXPECT_LE(orthogonality_error(random_stiefel(1, 1, 1)), 2e-7);
}

TEST(Gaussian, HasTheMomentsOfANormalDistribution) {
  const auto x = gaussian(1000, 100, 3);
  // Standard errors at 1e5 samples: 0.0032 for the mean, 0.0045 for the variance, 0.031 for the
  // fourth moment; four of each.
  EXPECT_NEAR(x.mean().item<double>(), 0.0, 0.013);
  EXPECT_NEAR(x.pow(2).mean().item<double>(), 1.0, 0.018);
  EXPECT_NEAR(x.pow(4).mean().item<double>(), 3.0, 0.125);
  EXPECT_TRUE(at::isfinite(x).all().item<bool>());
}

TEST(Gaussian, DoesNotDependOnTheShapeBeyondThePosition) {
  EXPECT_TRUE(at::equal(gaussian(4, 6, 5).flatten(), gaussian(8, 3, 5).flatten()));
}

TEST(Stiefel, TangentProjectionIsTangentAndIdempotent) {
  const auto a = random_stiefel(96, 24, 1);
  const auto g = gaussian(96, 24, 2).to(at::kFloat);
  const auto t = tangent_projection(g, a);
  const auto inner = a.t().mm(t);
  EXPECT_LE(max_abs(inner + inner.t()), 5e-6);  // sums of 96 terms of size one in float32
  EXPECT_LE(max_abs(tangent_projection(t, a) - t), 5e-6);
}

TEST(Stiefel, TangentProjectionKeepsTheSlopeAlongTheManifold) {
  // f(A) = <C, A>: moving A along a curve of the manifold with velocity t changes f by <C, t>, and
  // the projected gradient must say the same as the gradient for every tangent t.
  const auto a = random_stiefel(40, 8, 1).to(at::kDouble);
  const auto c = gaussian(40, 8, 2);
  const auto t = tangent_projection(gaussian(40, 8, 3), a);
  const auto projected = tangent_projection(c, a);
  // A is orthonormal to float32 only.
  EXPECT_NEAR((c * t).sum().item<double>(), (projected * t).sum().item<double>(), 1e-5);
  EXPECT_LT(projected.norm().item<double>(), c.norm().item<double>());
}

TEST(Stiefel, OrthogonalityErrorIsTheLargestDefect) {
  auto a = at::eye(5, 3, at::kFloat);
  EXPECT_EQ(orthogonality_error(a), 0.0);
  a[1][1] = 1.5;
  EXPECT_DOUBLE_EQ(orthogonality_error(a), 1.25);
  a[0][2] = std::nanf("");
  EXPECT_TRUE(std::isnan(orthogonality_error(a)));
}

TEST(PrincipalDirections, AreTheAxesOfStretchedRowsLargestFirst) {
  const auto frame = random_stiefel(24, 3, 1).to(at::kDouble);
  const auto sizes = at::tensor({1.0, 9.0, 4.0}, at::kDouble);
  const auto rows = (gaussian(500, 3, 2) * sizes).mm(frame.t()) + 0.01 * gaussian(500, 24, 3);
  const auto found = principal_directions(rows.t().mm(rows), 2);
  EXPECT_LE(orthogonality_error(found), 1e-6);
  const auto cosines = frame.t().mm(found.to(at::kDouble)).abs();
  EXPECT_GT(cosines[1][0].item<double>(), 0.99);
  EXPECT_GT(cosines[2][1].item<double>(), 0.99);
}

TEST(PrincipalAngles, AreThoseOfRotatedPlanes) {
  const auto frame = random_stiefel(64, 8, 1).to(at::kDouble);
  const auto a = frame.narrow(1, 0, 4);
  const auto other = frame.narrow(1, 4, 4);
  const auto angles = at::tensor({1e-3, 0.2, 1.0, 1.5}, at::kDouble);
  const auto turn =
      std::get<0>(at::linalg_qr(gaussian(4, 4, 2)));  // another basis of the same space
  const auto b = (a * angles.cos() + other * angles.sin()).mm(turn);
  EXPECT_LE(max_abs(principal_angles(a.to(at::kFloat), b.to(at::kFloat)) - angles), 1e-6);
}

TEST(PrincipalAngles, AreZeroForOneSpaceAndRightForDisjointOnes) {
  const auto frame = random_stiefel(64, 8, 1);
  const auto a = frame.narrow(1, 0, 4);
  EXPECT_LE(max_abs(principal_angles(a, a)), 1e-6);
  EXPECT_LE(max_abs(principal_angles(a, frame.narrow(1, 4, 4)) - std::acos(0.0)), 1e-6);
}

}  // namespace
}  // namespace mapl::math
