// A basis that starts again, once, from the principal directions of what crossed in the first
// steps. At the sender's end; MAPL's paper starts from random directions (docs/codecs/stiefel.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "math/parameter.h"

namespace mapl::codec {

class BasisRestart {
 public:
  struct Options {
    int64_t steps = 0;  // that are gathered, counted from the first of the run; 0: never restarts
    int64_t hidden_size = 0;  // D
    std::string device = "cpu";
  };
  explicit BasisRestart(const Options& options);

  // True in the step at whose end the basis starts again: known at both ends.
  static bool is_due(int64_t steps, uint64_t step);

  bool gathers() const;  // more residuals are wanted
  void gather(const at::Tensor& residual_ND);
  // Of all that was gathered, the step under way included.
  //   returns  [D, R], float32, on the CPU, orthonormal columns
  at::Tensor directions(int64_t rank) const;

  void commit(uint64_t step);
  void abort();

  math::NamedTensors state();  // names without a prefix; empty when it never restarts

 private:
  int64_t steps_;
  // Sums of r^T r, of the steps that counted and of the one under way.
  at::Tensor moment_DD_, step_moment_DD_;
  at::Tensor is_done_;  // [1], int64
};

}  // namespace mapl::codec
