#include "pipeline/schedule_check.h"

#include <gtest/gtest.h>

namespace mapl::pipeline {
namespace {

TEST(ScheduleCheck, ProblemsAreFound) {
  const auto problem = [](const char* text) { return find_problem(parse(text)); };
  EXPECT_EQ(problem("0F0 0B0\n"), "");
  EXPECT_EQ(problem("0F0 0F0 0B0\n"), "0F0 stands twice");
  EXPECT_EQ(problem("0B0 0F0\n"), "0B0 comes before its forward");
  EXPECT_EQ(problem("0F0 0F1 0B1 0B0\n"), "0B1 is out of order: backwards must ascend");
  EXPECT_EQ(problem("0F0 0SA0\n"), "0SA0 has no stage to go to");
  EXPECT_EQ(problem("0F0 0SA0 0RG0 0B0\n1F0 1B0 1SG0\n"), "1F0 comes before its activation");
  EXPECT_EQ(problem("0F0 0SA0\n1RA0 1F0 1B0\n"),
            "stages 0 and 1 do not run the same micro-batches");
  EXPECT_EQ(problem("0F0 0SA0 0RG0 0B0\n1RA0 1F0 1B0\n"),
            "stages 0 and 1 disagree about the gradients between them");
  EXPECT_EQ(problem("0F0 0SA0 0F1 0SA1\n1RA1 1F1 1RA0 1F0\n"),
            "stages 0 and 1 disagree about the activations between them");
  // Stage 0 wants the gradient of 0 before it sends the activation of 1, which stage 1 wants first.
  EXPECT_EQ(problem("0F0 0SA0 0RG0 0B0 0F1 0SA1 0RG1 0B1\n"
                    "1RA0 1F0 1RA1 1F1 1B0 1SG0 1B1 1SG1\n"),
            "deadlock: stage 0 waits for ever at 0RG0");
}

TEST(ScheduleCheck, DrawsTheGrid) {
  EXPECT_EQ(draw(make_schedule("1f1b", 2, 2)),
            "stage 0  F0  F1          B0          B1\n"
            "stage 1      F0  B0      F1  B1\n");
}

}  // namespace
}  // namespace mapl::pipeline
