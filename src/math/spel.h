// SPEL (arXiv 2601.21487): steepest descent in the spectral norm on the Stiefel manifold, with
// momentum. One step, as docs/maths/spel.md derives it:
//
//   M <- T_A(beta M + (1 - beta) g)      T_A: tangent projection at A
//   A <- polish(A - lr polar_express(M))
//
// INVARIANT: |A^T A - I|_max <= 1e-6 after every step, for lr up to 0.3.
#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::math {

class Spel {
 public:
  struct Options {
    double lr = 0.002;      // radians that a principal direction can turn in one step
    double momentum = 0.9;  // beta
    int steps = 6;          // of PolarExpress, for the direction
  };
  struct State {
    at::Tensor momentum;  // [D, R], tangent at the current A up to one step's turn
  };

  explicit Spel(const Options& options) : options_(options) {}

  // In place. The size of the gradient does not matter, only its direction: no clipping applies,
  // and a zero gradient on zero momentum moves nothing. A gradient that is not finite makes the
  // basis NaN, which orthogonality_error() shows.
  //   gradient_DR  of the loss with respect to A, both halves (algorithms: R^T g_Z + G^T Z)
  void update(const at::Tensor& gradient_DR, double lr_factor, State& state,
              at::Tensor& basis_DR) const;

 private:
  Options options_;
};

}  // namespace mapl::math
