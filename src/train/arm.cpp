#include "train/arm.h"

#include <fmt/format.h>

#include <sstream>

#include "base/status.h"
#include "train/assembly.h"

namespace mapl::train {

ArmSpec parse_arm(const std::string& text) {
  ArmSpec arm{.name = text};
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, '+');) {
    const bool is_key = part.find('=') != std::string::npos;
    const bool is_first = arm.overrides.empty();
    if (part.empty() || is_key == is_first) {
      throw UserError(
          fmt::format("\"{}\" is not a method and its keys, such as \"mapl\" or "
                      "\"mapl+ngram=2+anchor_rank=64\"",
                      text));
    }
    if (is_first) {
      arm.overrides.push_back("boundary.method=" + part);
    } else {
      const bool has_section = part.find('.') < part.find('=');
      arm.overrides.push_back((has_section ? "" : "boundary.") + part);
    }
  }
  if (arm.overrides.empty()) throw UserError("a method without a name");
  return arm;
}

std::string unfair_difference(const Recipe& a, const Recipe& b) {
  std::istringstream lines(diff(a, b));
  std::string unfair;
  for (std::string line; std::getline(lines, line);) {
    for (const char* section : {"model.", "data.", "training.", "validation."}) {
      const bool is_seed = line.starts_with("training.seed:");
      if (line.starts_with(section) && !is_seed) unfair += line + "\n";
    }
  }
  return unfair;
}

int64_t count_parameters(const Recipe& recipe) {
  int64_t count = 0;
  for (int64_t k = 0; k < recipe.pipeline.stages; ++k) {
    Assembly assembly(recipe, static_cast<int>(k));
    for (const auto& parameter : assembly.parameters()) count += parameter.value.numel();
  }
  return count;
}

}  // namespace mapl::train
