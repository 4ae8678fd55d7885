// Monotonic time. CLOCK_MONOTONIC is one clock for all processes of a machine, so times that
// travel between stages of one machine compare.
#pragma once

#include <chrono>
#include <cstdint>

namespace mapl {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

inline int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

inline Deadline in_seconds(double seconds) {
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace mapl
