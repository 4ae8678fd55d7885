#include "pipeline/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/status.h"
#include "pipeline/schedule_check.h"

namespace mapl::pipeline {
namespace {

TEST(Schedule, GeneratorsAreSoundAtEverySize) {
  for (int stages = 1; stages <= 8; ++stages) {
    for (const int micro_batches : {1, 2, 3, 4, 8, 17}) {
      for (const int in_flight : {0, 1, stages, 2 * stages - 1, micro_batches, 1'000'000'000}) {
        const auto schedule =
            with_transfers(one_forward_one_backward(stages, micro_batches, in_flight));
        EXPECT_EQ(find_problem(schedule), "") << print(schedule);
      }
      EXPECT_EQ(find_problem(make_schedule("gpipe", stages, micro_batches)), "");
      EXPECT_EQ(find_problem(with_transfers(forward_only(stages, micro_batches))), "");
    }
  }
}

TEST(Schedule, OneForwardOneBackwardIsTheTextbooks) {
  EXPECT_EQ(print(one_forward_one_backward(2, 3)),
            "0F0 0F1 0B0 0F2 0B1 0B2\n"
            "1F0 1B0 1F1 1B1 1F2 1B2\n");
}

// Narayanan et al. 2019: stage i of p holds at most p - i micro-batches; eager warm-up 2(p - i)
// - 1.
TEST(Schedule, HoldsAsManyMicroBatchesAsItSays) {
  const auto peak = [](const std::vector<Action>& actions) {
    int held = 0, most = 0;
    for (const Action& action : actions) {
      held += action.op == Op::kForward ? 1 : -1;
      most = std::max(most, held);
    }
    return most;
  };
  for (int stage = 0; stage < 4; ++stage) {
    EXPECT_EQ(peak(one_forward_one_backward(4, 16).stages[stage]), 4 - stage);
    EXPECT_EQ(peak(one_forward_one_backward(4, 16, 7).stages[stage]), 2 * (4 - stage) - 1);
    EXPECT_EQ(peak(gpipe(4, 16).stages[stage]), 16);
  }
}

TEST(Schedule, TransfersStandNextToTheirUse) {
  EXPECT_EQ(print(make_schedule("gpipe", 3, 1)),
            "0F0 0SA0 0RG0 0B0\n"
            "1RA0 1F0 1SA0 1RG0 1B0 1SG0\n"
            "2RA0 2F0 2B0 2SG0\n");
}

TEST(Schedule, TextComesBack) {
  const auto schedule = make_schedule("1f1b", 4, 8);
  EXPECT_EQ(parse(print(schedule)), schedule);
}

TEST(Schedule, ParseNamesTheWordItCannotRead) {
  for (const char* text : {"0F0 0X1\n", "1F0\n", "0F\n", "0F0x\n", "F0\n", "0\n"}) {
    EXPECT_THROW((void)parse(text), UserError) << text;
  }
  try {
    (void)parse("0F0\n1F0 1Q7\n");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("line 2: '1Q7'"), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_schedule("zero-bubble", 2, 2), UserError);
}

}  // namespace
}  // namespace mapl::pipeline
