#include "train/arm.h"

#include <fmt/format.h>

#include <sstream>

#include "base/status.h"

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
    for (const char* section : {"model.", "data.", "training.", "validation.", "link."}) {
      const bool is_seed = line.starts_with("training.seed:");
      if (line.starts_with(section) && !is_seed) unfair += line + "\n";
    }
  }
  return unfair;
}

}  // namespace mapl::train
