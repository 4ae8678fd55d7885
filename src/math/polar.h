// The polar factor: the matrix with orthonormal columns nearest to x, which is U V^T where x = U S
// V^T. docs/maths/polar.md has the equations and the measured figures.
//
// All three functions take float32 of any layout on any device; wide matrices (more columns than
// rows) are treated as their transpose, so their rows become orthonormal. No gradient flows
// through. An entry that is not finite makes every entry of the result NaN.
#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::math {

// The factor itself, computed in float64 throughout: for what is made once, such as a first basis.
//
//   x_DR     condition number up to 1e3
//   returns  [D, R], |q^T q - I|_max <= 2e-6, within 1e-6 x the condition number of U V^T
//
// Worse conditioned or rank-deficient x: singular values of the result lie between 0 and 1, and q
// acts as U V^T on what x spans: q (q^T x) = x. The zero matrix gives zero.
at::Tensor polar(const at::Tensor& x_DR);

// A direction close to the factor: `steps` steps of PolarExpress (Amsel et al., arXiv 2505.16932),
// float32. The singular values s of x become p(s / 1.01|x|_F): for 6 steps within 0.7 % of 1 if s >
// 1e-3 |x|_F. Smaller ones end between 0 and 1, rounding included; the zero matrix gives zero.
//
//   x_DR     entries between 1e-18 and 1e18 in magnitude; smaller ones may count as zero
at::Tensor polar_express(const at::Tensor& x_DR, int steps = 6);

// Back onto the manifold: the factor of a nearly orthonormal matrix by Newton-Schulz steps in
// float32 with the Gram matrix in float64, as many as needed.
//
//   y_DR     singular values between 0.5 and 1.4
//   returns  [D, R], |q^T q - I|_max <= 2.5e-7
at::Tensor polish(const at::Tensor& y_DR);

}  // namespace mapl::math
