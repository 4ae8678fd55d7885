// Matrices whose polar factor and singular values are known, for this room's tests.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "math/stiefel.h"

namespace mapl::math {

// U diag(s) V^T with random orthonormal U [D, R], V [R, R]; float64. U and V come from LAPACK's QR,
// which shares no code with polar().
inline at::Tensor with_singular_values(int64_t num_rows, const at::Tensor& values, uint64_t seed) {
  const int64_t n = values.numel();
  const auto left = std::get<0>(at::linalg_qr(gaussian(num_rows, n, seed)));
  const auto right = std::get<0>(at::linalg_qr(gaussian(n, n, seed + 1)));
  return (left * values.to(at::kDouble)).mm(right.t());
}

// From 1 down to 1 / condition, evenly in the logarithm.
inline at::Tensor log_spaced(int64_t count, double condition) {
  return at::logspace(0.0, -std::log10(condition), count, 10.0, at::kDouble);
}

struct Svd {
  at::Tensor u, s, vt;
};

inline Svd exact_svd(const at::Tensor& x) {
  auto [u, s, vt] = at::linalg_svd(x.to(at::kDouble), /*full_matrices=*/false);
  return {u, s, vt};
}

inline double max_abs(const at::Tensor& x) { return x.abs().max().item<double>(); }

// What six steps of PolarExpress make of one singular value, from the published table, in float64.
inline double polar_express_6(double s) {
  constexpr double kTable[6][3] = {{8.28721201814563, -23.595886519098837, 17.300387312530933},
                                   {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
                                   {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
                                   {3.3184196573706015, -2.488488024314874, 0.51004894012372},
                                   {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
                                   {1.891301407787398, -1.2679958271945868, 0.37680408948524835}};
  for (const auto& [a, b, c] : kTable) {
    const double t = s / 1.01;
    s = t * (a + b * t * t + c * t * t * t * t);
  }
  return s;
}

// U p(s / 1.01|x|_F) V^T: what polar_express(x, 6) should be.
inline at::Tensor reference_direction(const at::Tensor& x) {
  auto [u, s, vt] = exact_svd(x);
  const double scale = 1.01 * s.norm().item<double>();
  for (int64_t i = 0; i < s.numel(); ++i) {
    s[i] = polar_express_6(s[i].item<double>() / scale);
  }
  return (u * s).mm(vt);
}

}  // namespace mapl::math
