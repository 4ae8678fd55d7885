// Encrypted links between stages reset, cut and frozen, and stages killed and started by hand
// between, at random.
#pragma once

#include <cstdint>

namespace mapl::chaos {

struct CutOptions {
  int events = 12;  // of links
  int steps = 300;  // of a run
  uint32_t seed = 0;
};

// Prints what happened and what came of it. Returns the exit code.
int run_cut(const CutOptions& options);

}  // namespace mapl::chaos
