#include "train/stage_group.h"

#include <gtest/gtest.h>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(StageGroup, ReportsTheCauseAndNotItsEchoes) {
  const SmallRun small;
  StageGroup group(small.recipe());
  const Status status = group.run([](int stage, Assembly&, Trainer&) {
    return stage == 2 ? Status(Code::kPeerLost, "the cause") : Status(Code::kAborted, "an echo");
  });
  EXPECT_EQ(status.message(), "the cause");
}

TEST(StageGroup, WhatAStageThrowsIsThrown) {
  const SmallRun small;
  StageGroup group(small.recipe());
  EXPECT_THROW((void)group.run([](int stage, Assembly&, Trainer&) {
    if (stage == 1) throw UserError("bad");
    return Status::ok();
  }),
               UserError);
}

// Stage 2 leaves in the middle of a step; every other stage must hear of it and say where.
TEST(StageGroup, AStageThatLeavesEndsTheStepOnAll) {
  const SmallRun small;
  for (const char* kind : {"link.kind=inproc", "link.kind=zmq", "link.kind=c10d"}) {
    StageGroup group(small.recipe({kind}));
    std::vector<std::string> words(4);
    const Status status = group.run([&](int stage, Assembly&, Trainer& trainer) {
      const Status greeted = trainer.greet().status();
      if (!greeted.is_ok()) return greeted;
      if (stage == 2) {
        trainer.give_up({Code::kIo, "stage 2: its machine is on fire"});
        return Status(Code::kIo, "its machine is on fire");
      }
      const auto outcome = trainer.train(0, false);
      words[static_cast<size_t>(stage)] = outcome.status().message();
      return outcome.status();
    });
    EXPECT_EQ(status.message(), "its machine is on fire");
    for (const int stage : {0, 1, 3}) {
      EXPECT_NE(words[stage].find("on fire"), std::string::npos) << stage << ": " << words[stage];
      EXPECT_NE(words[stage].find("step 0"), std::string::npos) << stage << ": " << words[stage];
    }
  }
}

}  // namespace
}  // namespace mapl::train
