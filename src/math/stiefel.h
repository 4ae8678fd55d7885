// Matrices with orthonormal columns, A^T A = I: the Stiefel manifold St(D, R), D >= R.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mapl::math {

// Uniform on St(D, R): the polar factor of a Gaussian matrix.
//   returns  [D, R], float32, on the CPU; the same bits in every process of one machine
//   REQUIRES: 1 <= num_columns <= num_rows.
at::Tensor random_stiefel(int64_t num_rows, int64_t num_columns, uint64_t seed);

// Gaussian numbers, mean 0, variance 1, a function of the seed and the position alone.
//   returns  [num_rows, num_columns], float64, on the CPU
at::Tensor gaussian(int64_t num_rows, int64_t num_columns, uint64_t seed);

// The part of a gradient that is tangent to the manifold at A: g - A sym(A^T g), sym(m) = (m + m^T)
// / 2. For the embedded metric this is the Riemannian gradient (docs/maths/spel.md, eq. 1).
at::Tensor tangent_projection(const at::Tensor& gradient_DR, const at::Tensor& basis_DR);

// max |A^T A - I|, with the product in float64. NaN if A holds one.
double orthogonality_error(const at::Tensor& basis_DR);

// The directions that hold the most of rows x whose second moment, sum of x^T x, is given: its
// eigenvectors of the R largest eigenvalues, largest first.
//   moment_DD  symmetric, finite, any float
//   returns    [D, R], float32, on the CPU, orthonormal columns
// REQUIRES: 1 <= num_columns <= D.
at::Tensor principal_directions(const at::Tensor& moment_DD, int64_t num_columns);

// Angles in radians between the subspaces spanned by two orthonormal bases, ascending.
//   returns  [R], float64, on the CPU, each within 1e-6
at::Tensor principal_angles(const at::Tensor& a_DR, const at::Tensor& b_DR);

}  // namespace mapl::math
