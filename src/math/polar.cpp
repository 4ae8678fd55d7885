#include "math/polar.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace mapl::math {
namespace {

// X <- X (a I + b G + c G^2) with G = X^T X maps every singular value s to a s + b s^3 + c s^5.
struct Quintic {
  double a, b, c;
};

// Newton-Schulz of order five, the limit of the table below: s = 1 is its fixed point.
constexpr Quintic kNewtonSchulz = {1.875, -1.25, 0.375};

// arXiv 2505.16932, built for singular values in [1e-3, 1].
constexpr std::array<Quintic, 7> kPolarExpress = {{
    {8.28721201814563, -23.595886519098837, 17.300387312530933},
    {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
    {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
    {3.3184196573706015, -2.488488024314874, 0.51004894012372},
    {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
    {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
    {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
}};

// Rounding may lift a singular value above the interval that a step is built for, where the
// polynomial grows fast: each step sees s / 1.01 instead.
constexpr double kSafety = 1.01;

Quintic step_coefficients(int step) {
  if (step >= static_cast<int>(kPolarExpress.size())) return kNewtonSchulz;
  const auto [a, b, c] = kPolarExpress[step];
  const double cube = kSafety * kSafety * kSafety;
  return {a / kSafety, b / cube, c / (cube * kSafety * kSafety)};
}

// out = alpha x y + beta z, for products that are known to be symmetric: only the blocks on and
// above the diagonal are multiplied, the rest is mirrored: 0.7 of the time at n = 256. A GPU would
// rather have one large product.
void symmetric_product(at::Tensor& out, const at::Tensor& x, const at::Tensor& y,
                       double alpha = 1.0, const at::Tensor& z = {}, double beta = 0.0) {
  const int64_t n = out.size(0);
  const int64_t block = out.is_cpu() ? 64 : n;
  for (int64_t i = 0; i < n; i += block) {
    const int64_t rows = std::min(block, n - i);
    auto upper = out.narrow(0, i, rows).narrow(1, i, n - i);
    const auto left = x.narrow(0, i, rows);
    const auto right = y.narrow(1, i, n - i);
    if (z.defined()) {
      at::addmm_out(upper, z.narrow(0, i, rows).narrow(1, i, n - i), left, right, beta, alpha);
    } else {
      at::mm_out(upper, left, right);
    }
    if (i + rows < n) {
      out.narrow(0, i + rows, n - i - rows)
          .narrow(1, i, rows)
          .copy_(upper.narrow(1, rows, n - i - rows).t());
    }
  }
}

// a I + b r + c r^2
void polynomial(at::Tensor& out, const at::Tensor& r, const Quintic& q) {
  symmetric_product(out, r, r, q.c, r, q.b);
  out.diagonal().add_(q.a);
}

// Steps [first, last) on x itself: the most accurate form.
at::Tensor iterate(at::Tensor x, int first, int last) {
  auto gram = at::empty({x.size(1), x.size(1)}, x.options());
  auto p = at::empty_like(gram);
  auto next = at::empty_like(x);
  for (int step = first; step < last; ++step) {
    symmetric_product(gram, x.t(), x);
    polynomial(p, gram, step_coefficients(step));
    at::mm_out(next, x, p);
    std::swap(x, next);
  }
  return x;
}

// The same steps on the Gram matrix: x is touched twice, not twice per step. All matrices here are
// polynomials of one symmetric matrix, so every product of two is symmetric. Squaring x halves the
// digits left for small singular values, hence a few steps only between two visits to x.
at::Tensor iterate_on_gram(const at::Tensor& x, int first, int last) {
  auto r = at::empty({x.size(1), x.size(1)}, x.options());
  auto p = at::empty_like(r);
  auto scratch = at::empty_like(r);
  at::Tensor q;
  symmetric_product(r, x.t(), x);
  for (int step = first; step < last; ++step) {
    polynomial(p, r, step_coefficients(step));
    if (step + 1 < last) {
      symmetric_product(scratch, r, p);
      symmetric_product(r, scratch, p);
    }
    if (!q.defined()) {
      q = p.clone();
    } else {
      symmetric_product(scratch, q, p);
      std::swap(q, scratch);
    }
  }
  auto out = at::empty_like(x);
  at::mm_out(out, x, q);
  return out;
}

at::Tensor normalised(const at::Tensor& x) {
  // WHY clamp: zero stays zero instead of becoming 0 / 0.
  return x / (x.norm() * kSafety).clamp_min(1e-30);
}

// x, or its transpose if that is the tall one.
at::Tensor tall(const at::Tensor& x) {
  MAPL_CHECK(x.dim() == 2 && x.size(0) > 0 && x.size(1) > 0, "polar factor of a {}-dim tensor",
             x.dim());
  return x.size(0) < x.size(1) ? x.t() : x;
}

at::Tensor as_before(const at::Tensor& result, const at::Tensor& x) {
  return x.size(0) < x.size(1) ? result.t() : result;
}

}  // namespace

at::Tensor polar(const at::Tensor& x_DR) {
  // At R = 256 (s_min >= |x|_F / (16 condition)) thirteen steps leave 1e-16 for a condition of 1e3,
  // sixteen leave 1e-12 for 1e4.
  constexpr int kSteps = 16;
  at::NoGradGuard no_grad;
  const auto x = normalised(tall(x_DR).to(at::kDouble));
  return as_before(iterate(x, 0, kSteps).to(x_DR.scalar_type()), x_DR);
}

at::Tensor polar_express(const at::Tensor& x_DR, int steps) {
  constexpr int kStepsPerGram = 3;
  at::NoGradGuard no_grad;
  auto x = normalised(tall(x_DR));
  // WHY 1.5: below, the extra products of small matrices cost more than the tall ones they replace.
  if (x.size(0) * 2 < x.size(1) * 3) return as_before(iterate(x, 0, steps), x_DR);
  for (int step = 0; step < steps; step += kStepsPerGram) {
    x = iterate_on_gram(x, step, std::min(step + kStepsPerGram, steps));
  }
  return as_before(x, x_DR);
}

at::Tensor polish(const at::Tensor& y_DR) {
  constexpr double kTolerance = 2.5e-7;
  constexpr int kMaxSteps = 8;  // 0.5 and 1.4 need 4
  at::NoGradGuard no_grad;
  auto x = tall(y_DR);
  const auto identity = at::eye(x.size(1), x.options().dtype(at::kDouble));
  for (int step = 0; step < kMaxSteps; ++step) {
    const auto wide = x.to(at::kDouble);
    const auto residual = identity - wide.t().mm(wide);
    if (!(residual.abs().max().item<double>() > kTolerance)) break;
    // Newton-Schulz about the identity: a s + b s^3 + c s^5 = s + s (e/2 + 3 e^2/8), e = 1 - s^2.
    // The correction is small, so float32 is enough for it.
    const auto correction = at::addmm(residual, residual, residual, 0.5, 0.375);
    x = at::addmm(x, x, correction.to(x.scalar_type()));
  }
  return as_before(x, y_DR);
}

}  // namespace mapl::math
