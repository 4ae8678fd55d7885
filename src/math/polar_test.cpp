#include "math/polar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

at::Tensor factor(const at::Tensor& x) {
  const auto [u, s, vt] = exact_svd(x);
  return u.mm(vt);
}

struct Case {
  int64_t rows, columns;
  double condition;
};

// The figures promised in the header and in docs/maths/polar.md.
class PolarFigures : public testing::TestWithParam<Case> {};

TEST_P(PolarFigures, OrthonormalAndNearTheFactorFromAnSvd) {
  const auto [rows, columns, condition] = GetParam();
  const auto x = with_singular_values(rows, log_spaced(columns, condition), 7).to(at::kFloat);
  const auto q = polar(x);
  const double orthogonality = orthogonality_error(q);
  const double distance = max_abs(q.to(at::kDouble) - factor(x));
  EXPECT_LE(orthogonality, 2e-6);
  EXPECT_LE(distance, 1e-6 * condition);

  std::printf("%lld x %lld, condition %g: orthogonality %.1e, distance %.1e\n",
              static_cast<long long>(rows), static_cast<long long>(columns), condition,
              orthogonality, distance);
}

INSTANTIATE_TEST_SUITE_P(Sizes, PolarFigures,
                         testing::Values(Case{128, 32, 1}, Case{128, 32, 1e3}, Case{256, 256, 1e3},
                                         Case{1024, 256, 10}, Case{1024, 256, 1e3},
                                         Case{2048, 256, 1}, Case{2048, 256, 1e3}));

TEST(Polar, ScaleDoesNotMatter) {
  const auto x = with_singular_values(96, log_spaced(24, 100), 3).to(at::kFloat);
  const auto q = polar(x);
  // Float64's exponent range lies far beyond float32's: powers of two only move the exponent.
  EXPECT_LE(max_abs(polar(x * 0x1p-100) - q), 2e-7);
  EXPECT_LE(max_abs(polar(x * 0x1p100) - q), 2e-7);
}

TEST(Polar, WideIsTheTransposeOfTall) {
  const auto x = with_singular_values(96, log_spaced(24, 100), 3).to(at::kFloat);
  EXPECT_TRUE(at::equal(polar(x.t().contiguous()), polar(x).t()));
  // Another order of summation; a float32 Gram matrix of condition 100^2 may cost 6e-8 x 1e4.
  EXPECT_LE(max_abs(polar_express(x.t().contiguous()) - polar_express(x).t()), 6e-4);
  EXPECT_EQ(polar_express(x.t()).sizes(), x.t().sizes());
}

TEST(Polar, OfZeroIsZero) {
  const auto zero = at::zeros({40, 8});
  EXPECT_TRUE(at::equal(polar(zero), zero));
  EXPECT_TRUE(at::equal(polar_express(zero), zero));
}

TEST(Polar, OfRankDeficientIsAnIsometryOfItsRange) {
  auto values = log_spaced(24, 10);
  values.narrow(0, 12, 12).zero_();
  const auto x = with_singular_values(96, values, 5).to(at::kFloat);
  for (const auto& q : {polar(x), polar_express(x)}) {
    EXPECT_LE(max_abs(exact_svd(q).s), 1.007);
    // The direction's singular values are within 0.7 % of one.
    EXPECT_LE(max_abs(q.mm(q.t().mm(x)) - x), 0.014 * max_abs(x));
  }
  EXPECT_LE(max_abs(polar(x).mm(polar(x).t().mm(x)) - x), 1e-6);
}

TEST(Polar, OneBadEntryMakesEveryEntryNan) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto x = random_stiefel(40, 8, 1);
    x[3][2] = bad;
    EXPECT_TRUE(at::isnan(polar(x)).all().item<bool>());
    EXPECT_TRUE(at::isnan(polar_express(x)).all().item<bool>());
    EXPECT_TRUE(at::isnan(polish(x)).any().item<bool>());
  }
}

TEST(PolarExpress, MapsSingularValuesByThePublishedPolynomials) {
  for (const auto& [rows, columns] : {std::pair{48, 40}, {130, 130}, {344, 128}, {300, 33}}) {
    const auto x = with_singular_values(rows, log_spaced(columns, 30), 11).to(at::kFloat);
    const auto direction = polar_express(x);
    // Float32 Gram matrices of values from 1 to 1/30: 6e-8 x 30^2, a few times over.
    EXPECT_LE(max_abs(direction.to(at::kDouble) - reference_direction(x)), 2e-4)
        << rows << " x " << columns;
    const auto s = exact_svd(direction).s;
    EXPECT_LE(max_abs(s - 1.0), 7e-3) << rows << " x " << columns;
  }
}

TEST(PolarExpress, SmallSingularValuesStayBelowOne) {
  auto values = log_spaced(64, 1e7);
  for (const int64_t rows : {64, 400}) {  // the plain form and the one on the Gram matrix
    const auto s = exact_svd(polar_express(with_singular_values(rows, values, 2).to(at::kFloat))).s;
    EXPECT_LE(max_abs(s), 1.007);
  }
}

TEST(PolarExpress, ConvergesWithMoreSteps) {
  const auto x = with_singular_values(256, log_spaced(64, 100), 4).to(at::kFloat);
  EXPECT_GT(orthogonality_error(polar_express(x, 5)), 1e-2);
  EXPECT_LT(orthogonality_error(polar_express(x, 12)), 5e-6);
}

TEST(Polish, ReturnsToTheManifoldAndStaysNearest) {
  for (const double spread : {1e-4, 1e-2, 0.4}) {
    const auto values = at::linspace(1.0 - spread, 1.0 + spread, 64, at::kDouble);
    const auto y = with_singular_values(256, values, 9).to(at::kFloat);
    const auto q = polish(y);
    EXPECT_LE(orthogonality_error(q), 2.5e-7) << spread;
    EXPECT_LE(max_abs(q.to(at::kDouble) - factor(y)), 1e-6) << spread;
  }
}

TEST(Polish, ReachesTheWholeOfItsDomain) {
  const auto values = at::linspace(0.5, 1.4, 64, at::kDouble);
  EXPECT_LE(orthogonality_error(polish(with_singular_values(256, values, 9).to(at::kFloat))),
            2.5e-7);
}

// Why the Gram matrix is in float64 (docs/maths/polar.md): the same steps with a float32 product.
TEST(Polish, KeepsMoreThanAFloat32GramCould) {
  const auto y = random_stiefel(1024, 128, 1) + 6e-4 * gaussian(1024, 128, 3).to(at::kFloat);
  auto x = y;
  for (int step = 0; step < 3; ++step) {
    const auto e = at::eye(128) - x.t().mm(x);
    x = at::addmm(x, x, at::addmm(e, e, e, 0.5, 0.375));
  }
  std::printf("float32 Gram: %.1e, polish: %.1e\n", orthogonality_error(x),
              orthogonality_error(polish(y)));
  EXPECT_LT(orthogonality_error(polish(y)), orthogonality_error(x));
}

TEST(Polish, LeavesAnOrthonormalMatrixAlone) {
  const auto q = random_stiefel(256, 64, 1);
  EXPECT_TRUE(at::equal(polish(q), q));
}

}  // namespace
}  // namespace mapl::math
