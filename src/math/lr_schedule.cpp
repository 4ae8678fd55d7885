#include "math/lr_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/status.h"

namespace mapl::math {
namespace {

void require_fraction(const char* name, double value) {
  if (value >= 0.0 && value <= 1.0) return;
  throw UserError(fmt::format("{} is a fraction, got {}: give a number from 0 to 1", name, value));
}

}  // namespace

LrSchedule::LrSchedule(const Options& options) : options_(options) {
  if (options.decay != "linear" && options.decay != "cosine" && options.decay != "none") {
    throw UserError(fmt::format("unknown learning-rate decay \"{}\": use linear, cosine or none",
                                options.decay));
  }
  if (options.warmup_steps < 0) {
    throw UserError(fmt::format("warmup_steps is {}: use 0 or more", options.warmup_steps));
  }
  require_fraction("decay_start", options.decay_start);
  require_fraction("final_fraction", options.final_fraction);
}

double LrSchedule::factor(int64_t step, int64_t total_steps) const {
  const double done = static_cast<double>(step + 1);  // with this step
  const double total = static_cast<double>(total_steps);
  const double warmup = std::min(1.0, done / std::max(1.0, double(options_.warmup_steps)));
  const double start = options_.decay_start * total;
  if (options_.decay == "none" || done <= start) return warmup;
  const double progress = std::min(1.0, (done - start) / (total - start));
  const double shape = options_.decay == "linear"
                           ? 1.0 - progress
                           : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return warmup * (options_.final_fraction + (1.0 - options_.final_fraction) * shape);
}

}  // namespace mapl::math
