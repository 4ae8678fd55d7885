#include "math/lr_schedule.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace mapl::math {
namespace {

TEST(LrSchedule, WarmsUpStaysAndFallsInAStraightLine) {
  const LrSchedule schedule({.warmup_steps = 30, .decay_start = 0.4, .final_fraction = 0.05});
  EXPECT_DOUBLE_EQ(schedule.factor(0, 400), 1.0 / 30);
  EXPECT_DOUBLE_EQ(schedule.factor(14, 400), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(29, 400), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(159, 400), 1.0);
  EXPECT_LT(schedule.factor(160, 400), 1.0);
  EXPECT_NEAR(schedule.factor(279, 400), 0.525, 1e-12);  // half-way down
  EXPECT_NEAR(schedule.factor(399, 400), 0.05, 1e-12);
  EXPECT_NEAR(schedule.factor(1000, 400), 0.05, 1e-12);
}

TEST(LrSchedule, CosineMeetsTheLineAtBothEndsAndInTheMiddle) {
  const LrSchedule schedule(
      {.warmup_steps = 0, .decay = "cosine", .decay_start = 0.0, .final_fraction = 0.1});
  EXPECT_NEAR(schedule.factor(49, 100), 0.55, 1e-12);
  EXPECT_NEAR(schedule.factor(24, 100), 0.1 + 0.9 * 0.5 * (1 + 0.70710678118654752), 1e-12);
  EXPECT_NEAR(schedule.factor(99, 100), 0.1, 1e-12);
}

TEST(LrSchedule, NoneStaysUp) {
  const LrSchedule schedule({.warmup_steps = 2, .decay = "none"});
  EXPECT_DOUBLE_EQ(schedule.factor(0, 100), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(99, 100), 1.0);
}

TEST(LrSchedule, WarmUpAndDecayMultiplyInShortRuns) {
  const LrSchedule schedule({.warmup_steps = 10, .decay_start = 0.5, .final_fraction = 0.0});
  EXPECT_NEAR(schedule.factor(5, 8), 0.6 * 0.5, 1e-12);
}

TEST(LrSchedule, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(LrSchedule({.decay = "exponential"}), UserError);
  EXPECT_THROW(LrSchedule({.warmup_steps = -1}), UserError);
  EXPECT_THROW(LrSchedule({.decay_start = 1.5}), UserError);
  EXPECT_THROW(LrSchedule({.final_fraction = -0.1}), UserError);
}

}  // namespace
}  // namespace mapl::math
