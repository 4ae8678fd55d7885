// Muon (Keller Jordan): momentum whose singular values are all set to one, for the matrices of the
// blocks.
//
//   M <- mu M + (1 - mu) g
//   O = polar_express((1 - mu) g + mu M)            Nesterov; or polar_express(M)
//   W <- (1 - lr decay) W - lr max(1, rows / columns)^0.5 O         without the root if not
//   `aspect`
#pragma once

#include <ATen/core/Tensor.h>

namespace mapl::math {

class Muon {
 public:
  struct Options {
    double lr = 0.02;
    double momentum = 0.95;  // mu
    bool nesterov = true;
    bool aspect = true;
    int steps = 6;              // of PolarExpress
    double weight_decay = 0.0;  // decoupled
  };
  struct State {
    at::Tensor momentum;  // [rows, columns]
  };

  explicit Muon(const Options& options) : options_(options) {}

  // In place. One matrix at a time and never a stack of several: the result has the same bits
  // whatever else lives on the stage. A gradient that is not finite makes the matrix NaN.
  //   gradient  [rows, columns], not changed; multiplied by gradient_scale on reading
  void update(const at::Tensor& gradient, double lr_factor, double gradient_scale, State& state,
              at::Tensor& value) const;

 private:
  Options options_;
};

}  // namespace mapl::math
