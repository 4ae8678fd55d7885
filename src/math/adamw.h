// AdamW (Loshchilov and Hutter, arXiv 1711.05101): Adam with bias correction and decoupled decay.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace mapl::math {

class AdamW {
 public:
  struct Options {
    double lr = 0.01;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-10;  // small: rows of rare tokens have tiny gradients
    double weight_decay = 0.0;
  };
  struct State {
    at::Tensor exp_avg;     // like the value
    at::Tensor exp_avg_sq;  // like the value
    int64_t step = 0;       // updates so far
  };

  explicit AdamW(const Options& options) : options_(options) {}

  // In place; one pass over memory on the CPU. A gradient entry that is not finite spoils that
  // entry.
  //   gradient  float32 like the value, not changed; multiplied by gradient_scale on reading
  void update(const at::Tensor& gradient, double lr_factor, double gradient_scale, State& state,
              at::Tensor& value) const;

  // The same for some rows of a matrix; the others stay as they are, averages included, so that the
  // cost is that of the rows (torch.optim.SparseAdam). Bias is corrected by the number of updates
  // of the whole.
  void update_rows(const std::vector<int64_t>& rows, const at::Tensor& gradient, double lr_factor,
                   double gradient_scale, State& state, at::Tensor& value) const;

 private:
  struct Factors;
  // Counts the update.
  Factors next_factors(double lr_factor, double gradient_scale, State& state) const;

  Options options_;
};

}  // namespace mapl::math
