// One of several ways to train the same model on the same tokens: what `mapl compare` compares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/recipe.h"

namespace mapl::train {

// A method, and keys that it changes: "mapl", "mapl+ngram=2+anchor_rank=64". Keys without a section
// are those of [boundary].
struct ArmSpec {
  std::string name;                    // as it was given
  std::vector<std::string> overrides;  // for load_recipe
};

// ERRORS  UserError for text that is not of this form.
ArmSpec parse_arm(const std::string& text);

// What must be equal for a comparison to mean anything: model, data, tokens, validation, the link.
//   returns  "section.key: a -> b" lines of what is not; empty when all is
std::string unfair_difference(const Recipe& a, const Recipe& b);

}  // namespace mapl::train
