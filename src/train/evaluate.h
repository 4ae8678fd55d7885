// Validation loss of trained weights.
#pragma once

#include <string>

#include "math/parameter.h"
#include "train/recipe.h"

namespace mapl::train {

struct Evaluation {
  double loss = 0;  // mean over the recipe's validation sequences
  int64_t tokens = 0;
};

// On one thread, with the recipe's codec in place at its boundaries: the loss that the run itself
// would give.
//   from    how messages call the weights
//   ERRORS  UserError about data, or weights that are not of this model.
Evaluation evaluate(const Recipe& recipe, const math::NamedTensors& weights,
                    const std::string& from);

}  // namespace mapl::train
