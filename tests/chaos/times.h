// How long it takes until the other stages know of one that is gone, and until the run goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mapl::chaos {

struct TimesOptions {
  std::string recipe = "recipes/tiny.toml";
  std::string folder = "runs/chaos-times";
  int rounds = 10;
  std::vector<std::string> sets;
  uint32_t seed = 0;
};

// Prints a table. 1 when something was not noticed or the run failed.
int run_times(const TimesOptions& options);

}  // namespace mapl::chaos
