#include "math/stiefel.h"

#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "base/check.h"
#include "base/rng.h"
#include "math/polar.h"

namespace mapl::math {

at::Tensor gaussian(int64_t num_rows, int64_t num_columns, uint64_t seed) {
  auto out = at::empty({num_rows, num_columns}, at::kDouble);
  auto* values = out.data_ptr<double>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    // Box-Muller, one value per counter; 0.5 keeps the logarithm's argument above zero.
    const auto words = philox(seed, 0, static_cast<uint64_t>(i));
    const double u = (words[0] + 0.5) * 0x1p-32;
    const double angle = 2.0 * std::numbers::pi * words[1] * 0x1p-32;
    values[i] = std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
  }
  return out;
}

at::Tensor random_stiefel(int64_t num_rows, int64_t num_columns, uint64_t seed) {
  MAPL_CHECK(1 <= num_columns && num_columns <= num_rows, "{} orthonormal columns of {} rows",
             num_columns, num_rows);
  return polar(gaussian(num_rows, num_columns, seed)).to(at::kFloat);
}

at::Tensor tangent_projection(const at::Tensor& gradient_DR, const at::Tensor& basis_DR) {
  at::NoGradGuard no_grad;
  const auto inner_RR = basis_DR.t().mm(gradient_DR);
  return at::addmm(gradient_DR, basis_DR, inner_RR + inner_RR.t(), 1.0, -0.5);
}

double orthogonality_error(const at::Tensor& basis_DR) {
  at::NoGradGuard no_grad;
  const auto basis = basis_DR.to(at::kDouble);
  const auto gram = basis.t().mm(basis);
  return (gram - at::eye(gram.size(0), gram.options())).abs().max().item<double>();
}

at::Tensor principal_directions(const at::Tensor& moment_DD, int64_t num_columns) {
  at::NoGradGuard no_grad;
  // Eigenvalues ascend.
  const auto vectors = std::get<1>(at::linalg_eigh(moment_DD.to(at::kCPU, at::kDouble)));
  return vectors.narrow(1, vectors.size(1) - num_columns, num_columns)
      .flip(1)
      .to(at::kFloat)
      .contiguous();
}

at::Tensor principal_angles(const at::Tensor& a_DR, const at::Tensor& b_DR) {
  at::NoGradGuard no_grad;
  const auto a = a_DR.to(at::kCPU, at::kDouble);
  const auto b = b_DR.to(at::kCPU, at::kDouble);
  const auto inner = a.t().mm(b);
  // The arc cosine alone loses half the digits of small angles (Bjorck and Golub, 1973): sines come
  // from what b has outside the span of a. Cosines descend, so sines are put in ascending order.
  const auto cosines = at::linalg_svdvals(inner);
  const auto sines = at::linalg_svdvals(b - a.mm(inner)).flip(0);
  return at::atan2(sines, cosines);
}

}  // namespace mapl::math
