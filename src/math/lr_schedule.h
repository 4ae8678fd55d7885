// The factor on every learning rate as training goes on.
#pragma once

#include <cstdint>
#include <string>

namespace mapl::math {

class LrSchedule {
 public:
  struct Options {
    int64_t warmup_steps = 30;     // the factor climbs 1/n, 2/n, ... 1 over the first n steps
    std::string decay = "linear";  // linear, cosine or none
    double decay_start = 0.4;      // fraction of the steps at the full rate
    double final_fraction = 0.05;  // factor of the last step
  };

  //   ERRORS  UserError for an unknown decay or a number out of range.
  explicit LrSchedule(const Options& options);

  //   step     of total_steps, from 0
  //   returns  in (0, 1]; warm-up and decay multiply where they overlap. Steps past the last keep
  //   its
  //            factor.
  double factor(int64_t step, int64_t total_steps) const;

 private:
  Options options_;
};

}  // namespace mapl::math
