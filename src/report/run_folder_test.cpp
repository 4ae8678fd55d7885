#include "report/run_folder.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/status.h"
#include "report/run_for_test.h"

namespace mapl::report {
namespace {

TEST(RunFolder, FiguresAreThoseOfTheRun) {
  const RunForTest on_disk({5, 4, 3}, 2.5);
  const RunFigures run = read_run(on_disk.folder());
  EXPECT_EQ(run.validation_loss, 2.5);
  EXPECT_EQ(run.tokens, 300);
  EXPECT_DOUBLE_EQ(run.activation_bytes, 7);
  EXPECT_DOUBLE_EQ(run.gradient_bytes, 4);
  EXPECT_DOUBLE_EQ(run.total_bytes, 11.5);
  EXPECT_DOUBLE_EQ(run.energy_kept, 0.6);
  EXPECT_EQ(run.step_seconds, 1);
  EXPECT_EQ(run.peak_rss_bytes, 6000000);
  EXPECT_EQ(run.parameters, 1500000);
  EXPECT_EQ(run.recipe.at("training.steps"), "3");
  ASSERT_EQ(run.points.size(), 3u);
  EXPECT_EQ(run.points[1].tokens, 200);
  EXPECT_EQ(run.points[1].seconds, 2);
  EXPECT_EQ(run.points[1].bytes, 2300);
  ASSERT_EQ(run.energy_of_boundary.size(), 2u);
  EXPECT_EQ(run.energy_of_boundary[1], (std::vector<double>{0.7, 0.7, 0.7}));
  EXPECT_TRUE(std::isnan(run.angle_of_boundary[0][0]));
  EXPECT_EQ(run.angle_of_boundary[1], (std::vector<double>{55, 55, 55}));
  EXPECT_TRUE(std::isnan(run.activation_usage[0][0]));
  EXPECT_EQ(run.activation_usage[0][2], 0.8);
  EXPECT_EQ(run.activation_error[0][2], 0.1);
  EXPECT_TRUE(std::isnan(run.gradient_usage[1][2]));
  ASSERT_EQ(run.stage_times.size(), 3u);
  EXPECT_DOUBLE_EQ(run.stage_times[2].compute_seconds, 1.5);
  EXPECT_DOUBLE_EQ(run.stage_times[2].sending_seconds, 0.375);
  EXPECT_DOUBLE_EQ(run.stage_times[2].waiting_seconds, 0.75);
}

// Each of them tells of the whole process.
TEST(RunFolder, StagesThatAreThreadsShareTheirMemory) {
  const RunForTest threads({5, 4}, 2.5, /*log_freq=*/1, "inproc");
  EXPECT_EQ(read_run(threads.folder()).peak_rss_bytes, 3000000);
}

TEST(RunFolder, TimesAndBytesCountStepsThatHaveNoLine) {
  const RunForTest on_disk({6, 5, 4, 3, 2, 1}, 1, /*log_freq=*/3);
  const RunFigures run = read_run(on_disk.folder());
  ASSERT_EQ(run.points.size(), 2u);
  EXPECT_EQ(run.points[1].tokens, 600);
  EXPECT_EQ(run.points[1].seconds, 6);
  EXPECT_EQ(run.points[1].bytes, 6900);
}

TEST(RunFolder, SmoothingIsTheMeanOfTheLast) {
  const RunForTest on_disk({6, 4, 2, 0}, 1);
  EXPECT_EQ(smoothed_loss(read_run(on_disk.folder()).points, 2), (std::vector<double>{6, 5, 3, 1}));
}

TEST(RunFolder, WhatIsNotThereOrNotARunIsTheUsersError) {
  EXPECT_FALSE(is_finished("/nowhere"));
  EXPECT_THROW(read_run("/nowhere"), UserError);
  const RunForTest on_disk({5, 4}, 2.5);
  EXPECT_TRUE(is_finished(on_disk.folder()));
  for (const char* file : {"/metrics.jsonl", "/summary.json"}) {
    for (const char* text : {"{}\n", "{\"step\": \"one\"", "\xff\n", "[1]\n"}) {
      const RunForTest broken({5, 4}, 2.5);
      std::ofstream(broken.folder() + file) << text;
      EXPECT_THROW(read_run(broken.folder()), UserError) << file << text;
    }
  }
}

}  // namespace
}  // namespace mapl::report
