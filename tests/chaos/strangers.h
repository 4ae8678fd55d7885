// Attacks a run while it trains: from outside, and from the middle of its line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mapl::chaos {

struct StrangersOptions {
  int attempts = 300;
  double per_second = 60;     // attempts
  double window_seconds = 3;  // calm and attack take turns; 0: no such run, only the next
  int idle = 200;             // connections that are held open, in a window of their own
  int tricks = 10;            // of the man in the middle, in a run of their own; strangers come too
  std::vector<std::string> sets;
  uint32_t seed = 0;
};

// Prints tables. 0 when nobody was let in and all runs came to their end with the same bits.
int run_strangers(const StrangersOptions& options);

}  // namespace mapl::chaos
