// Is a pipeline the model? Trains a few steps twice, once in stages over links and once by the
// in-place reference, and compares to the last bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/recipe.h"

namespace mapl::train {

struct Verification {
  struct Difference {
    std::string what;     // "loss of step 3", "weights of model.norm.weight"
    double largest = 0;   // max abs difference
    double relative = 0;  // over the largest magnitude in the reference
  };
  std::vector<double> losses;  // of the stages, per step
  int64_t steps = 0;
  int64_t tensors = 0;                  // compared, weights and gradients
  bool unsplit = false;                 // the reference is one uncut model without a codec
  std::vector<Difference> differences;  // what is not equal bit for bit
};

// Steps 0 .. steps - 1 of the recipe. Compared: loss and gradient norm of each step; after the last
// step every gradient, weight, basis and anchor, by name.
//   ERRORS  UserError about recipe or data, and when codes would cross in none of the steps;
//           RunError when a stage fails.
Verification verify(const Recipe& recipe, int64_t steps);

}  // namespace mapl::train
