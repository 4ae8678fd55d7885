#include "train/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

pipeline::Step::Outcome outcome_with(int64_t bytes) {
  pipeline::Step::Outcome outcome{.loss = 2, .squared_norm = 9};
  outcome.reports.resize(4);
  for (auto& report : outcome.reports) {
    report.compute_seconds = 0.25;
    report.traffic.activation_bytes = bytes;
  }
  return outcome;
}

TEST(Metrics, LinesAreDifferencesAndTotalsAreSums) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  Metrics metrics(recipe, small.folder());
  metrics.log({.step = 1, .seconds = 0.5, .lr_factor = 1}, outcome_with(100));
  metrics.log({.step = 2, .seconds = 0.5, .lr_factor = 1, .validation_loss = 1.5},
              outcome_with(200));
  const auto lines = json_lines(small.folder() + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["activation_bytes"], 400);
  EXPECT_EQ(lines[1]["activation_bytes"], 800);
  EXPECT_EQ(lines[1]["validation_loss"], 1.5);
  EXPECT_EQ(lines[1]["tokens"], 128);
  EXPECT_EQ(lines[0]["grad_norm"], 3);
  EXPECT_DOUBLE_EQ(lines[0]["bubble_fraction"], 0.5);
  EXPECT_DOUBLE_EQ(metrics.bytes_per_token(), 1200.0 / (3 * 128));
  EXPECT_DOUBLE_EQ(metrics.tokens_per_second(), 128.0);
}

TEST(Metrics, WhatIsNotKnownIsLeftOut) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  Metrics metrics(recipe, small.folder());
  auto outcome = outcome_with(100);
  outcome.reports[1].energy_kept = std::numeric_limits<double>::quiet_NaN();
  metrics.log({.step = 1, .seconds = 0.5, .lr_factor = 1}, outcome);
  const auto lines = json_lines(small.folder() + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["energy_kept_0"], 1);
  EXPECT_FALSE(lines[0].contains("energy_kept_1"));
}

// A line that is lost would let a checkpoint hold a step that no line tells of.
TEST(Metrics, ALineThatCannotBeWrittenIsAFailure) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  Metrics metrics(recipe, small.folder());
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto on_limit = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit full{.rlim_cur = 16, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &full);
  EXPECT_THROW(metrics.log({.step = 1, .seconds = 0.5, .lr_factor = 1}, outcome_with(100)),
               RunError);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, on_limit);
}

TEST(Metrics, OnlyDueStepsAreLogged) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"metrics.log_freq=4"});
  Metrics metrics(recipe, small.folder());
  for (int64_t step = 1; step <= 6; ++step) {
    metrics.log({.step = step, .seconds = 1, .lr_factor = 1}, outcome_with(step));
  }
  const auto lines = json_lines(small.folder() + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["step"], 4);
  EXPECT_EQ(lines[1]["step"], 6);
  EXPECT_EQ(lines[1]["total_step_seconds"], 6);
  EXPECT_EQ(lines[1]["total_bytes"], 4 * (1 + 2 + 3 + 4 + 5 + 6));
}

TEST(Metrics, GoingBackForgetsWhatCameAfter) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  math::NamedTensors then;
  {
    Metrics metrics(recipe, small.folder());
    metrics.go_back(0, {});
    metrics.log_join(0, "");
    for (int64_t step = 1; step <= 3; ++step) {
      metrics.log({.step = step, .seconds = 1, .lr_factor = 1}, outcome_with(100));
      if (step == 2) then = metrics.state();
    }
  }
  std::ofstream(small.folder() + "/metrics.jsonl", std::ios::app) << "{\"step\": 4, \"los";
  Metrics metrics(recipe, small.folder());
  metrics.go_back(2, then);
  metrics.log_join(2, "");
  EXPECT_EQ(metrics.totals().seconds, 2);
  EXPECT_EQ(metrics.totals().traffic.activation_bytes, 800);
  EXPECT_EQ(metrics.totals().recoveries, 1);
  metrics.log({.step = 3, .seconds = 1, .lr_factor = 1}, outcome_with(100));
  const auto lines = json_lines(small.folder() + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(lines[i]["step"], i + 1);
  metrics.go_back(0, {});
  EXPECT_TRUE(json_lines(small.folder() + "/metrics.jsonl").empty());
  EXPECT_EQ(metrics.totals().traffic.activation_bytes, 0);
}

TEST(Metrics, AFolderThatCannotBeWrittenIsTheUsersError) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  EXPECT_THROW(Metrics(recipe, "/nowhere"), UserError);
}

}  // namespace
}  // namespace mapl::train
