// A line that tells how a run goes: rewritten in place on a terminal, one line now and then
// elsewhere.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace mapl::train {

class Progress {
 public:
  struct State {
    int64_t step = 0;
    int64_t steps = 1;
    double loss = 0;
    double tokens_per_second = 0;
    double bytes_per_token = 0;
    double seconds = 0;  // since the first step began
  };
  // To stderr. `on` false: says nothing.
  explicit Progress(bool on);
  ~Progress();

  void show(const State& state);

  // "  42% ━━━━━━━━━╸        step 168/400  loss 3.912  4,012 tokens/s  138.2 B/token  1:23 left"
  static std::string line(const State& state);

 private:
  bool on_;
  bool terminal_;
  bool open_ = false;    // a rewritten line waits for its end
  double shown_ = -1e9;  // seconds of the last line
};

}  // namespace mapl::train
