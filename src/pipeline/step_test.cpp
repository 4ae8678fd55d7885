#include "pipeline/step.h"

#include <gtest/gtest.h>

#include "link/cut_link_for_test.h"
#include "pipeline/two_stages_for_test.h"

namespace mapl::pipeline {
namespace {

void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i], b[i])) << i;
}

TEST(Step, AllStagesLearnOfOneLossAndOneNorm) {
  TwoStages run;
  double first = 0;
  for (uint64_t step = 0; step < 5; ++step) {
    auto outcomes = run.train(step);
    ASSERT_TRUE(outcomes[0]->is_ok()) << outcomes[0]->status().to_string();
    ASSERT_TRUE(outcomes[1]->is_ok()) << outcomes[1]->status().to_string();
    EXPECT_EQ(outcomes[0]->value().loss, outcomes[1]->value().loss);
    EXPECT_EQ(outcomes[0]->value().squared_norm, outcomes[1]->value().squared_norm);
    EXPECT_EQ(outcomes[0]->value().reports.size(), 2u);
    if (step == 0) first = outcomes[0]->value().loss;
    if (step == 4) {
      EXPECT_LT(outcomes[0]->value().loss, first);
    }
  }
  EXPECT_EQ(run.stages[0]->sender->state_hash(), run.stages[1]->receiver->state_hash());
}

TEST(Step, AWishToStopReachesEveryStageInTheSameStep) {
  TwoStages run;
  auto outcomes = run.train(0, /*stop_at_last=*/true);
  EXPECT_TRUE(outcomes[0]->value().stop);
  EXPECT_TRUE(outcomes[1]->value().stop);
}

TEST(Step, BytesThatCrossAreTheDeclaredOnes) {
  TwoStages run;
  auto outcomes = run.train(0);
  ASSERT_TRUE(outcomes[0]->is_ok());
  const int64_t rows = kTestShape.rows();
  const Traffic& forth = run.stages[0]->channel->traffic();
  const Traffic& back = run.stages[1]->channel->traffic();
  EXPECT_EQ(forth.activation_bytes, kTestMicroBatches * rows * 4 * 4);         // rank 4, float32
  EXPECT_EQ(forth.token_id_bytes, kTestMicroBatches * ((2 * 6 * 6 + 7) / 8));  // 6 bits an id
  EXPECT_EQ(forth.sync_bytes, kCommitBytes + 16 * 4 * 4);                      // and the basis
  EXPECT_EQ(forth.header_bytes, (kTestMicroBatches + 2) * link::kHeaderBytes);
  EXPECT_EQ(back.gradient_bytes, kTestMicroBatches * rows * 4 * 4);
  EXPECT_EQ(back.sync_bytes, vote_bytes(1) + 16 * 4 * 4);
  EXPECT_EQ(back.header_bytes, (kTestMicroBatches + 2) * link::kHeaderBytes);
  // What the last stage reports with its vote is all that it sent.
  EXPECT_EQ(outcomes[0]->value().reports[1].traffic.total(), back.total());
}

TEST(Step, NothingIsAppliedWhenTheLossIsNotFinite) {
  TwoStages run;
  ASSERT_TRUE(run.train(0)[0]->is_ok());
  for (auto& [name, value] : run.stages[1]->model.parameters()) {
    if (name == "model.norm.weight") at::Tensor(value).data().fill_(INFINITY);
  }
  const auto before_0 = run.stages[0]->values();
  const auto before_1 = run.stages[1]->values();
  auto outcomes = run.train(1);
  for (const auto& outcome : outcomes) {
    ASSERT_FALSE(outcome->is_ok());
    EXPECT_NE(outcome->status().message().find("step 1"), std::string::npos)
        << outcome->status().message();
  }
  expect_same(before_0, run.stages[0]->values());
  expect_same(before_1, run.stages[1]->values());
}

TEST(Step, NothingIsAppliedWhenAnActivationIsNotFinite) {
  TwoStages run;
  ASSERT_TRUE(run.train(0)[0]->is_ok());
  for (auto& [name, value] : run.stages[0]->model.parameters()) {
    if (name.ends_with("down_proj.weight")) at::Tensor(value).data().fill_(INFINITY);
  }
  const auto before_0 = run.stages[0]->values();
  const auto before_1 = run.stages[1]->values();
  const uint64_t sender = run.stages[0]->sender->state_hash();
  const uint64_t receiver = run.stages[1]->receiver->state_hash();
  auto outcomes = run.train(1);
  for (const auto& outcome : outcomes) {
    ASSERT_FALSE(outcome->is_ok());
    EXPECT_NE(outcome->status().message().find("boundary"), std::string::npos)
        << outcome->status().message();
  }
  expect_same(before_0, run.stages[0]->values());
  expect_same(before_1, run.stages[1]->values());
  EXPECT_EQ(run.stages[0]->sender->state_hash(), sender);
  EXPECT_EQ(run.stages[1]->receiver->state_hash(), receiver);
}

TEST(Step, AStageThatThrowsTellsItsNeighbourWhy) {
  TwoStages run;
  std::string heard;
  const std::jthread last([&] {
    const auto outcome =
        run.stages[1]->step->train(run.stages[1]->actions, 0, kTestTokens, 1, test_ids, false);
    heard = outcome.status().to_string();
  });
  EXPECT_THROW(
      (void)run.stages[0]->step->train(
          run.stages[0]->actions, 0, kTestTokens, 1,
          [](int) -> at::Tensor { throw UserError("shard 3 holds an id of 70000"); }, false),
      UserError);
  const_cast<std::jthread&>(last).join();
  EXPECT_NE(heard.find("shard 3 holds an id of 70000"), std::string::npos) << heard;
}

TEST(Step, EndsThatHoldAnotherBasisAreFoundOut) {
  TwoStages run;
  Bytes basis = run.stages[0]->sender->packed_basis();
  basis[0] ^= std::byte{1};
  ASSERT_TRUE(run.stages[1]->receiver->set_basis(basis).is_ok());
  auto outcomes = run.train(0);
  ASSERT_FALSE(outcomes[0]->is_ok());
  EXPECT_NE(outcomes[0]->status().message().find("no longer hold the same basis"),
            std::string::npos)
      << outcomes[0]->status().message();
  EXPECT_FALSE(outcomes[1]->is_ok());
}

TEST(Step, ValidationChangesNothingAndIsNotCounted) {
  TwoStages run;
  ASSERT_TRUE(run.train(0)[0]->is_ok());
  const auto before = run.stages[0]->values();
  const int64_t bytes = run.stages[0]->channel->traffic().total();
  std::array<double, 2> losses{};
  for (int round = 0; round < 2; ++round) {
    std::array<std::jthread, 2> threads;
    for (int k = 0; k < 2; ++k) {
      threads[k] = std::jthread([&, k] {
        const auto forwards =
            with_transfers(forward_only(2, kTestMicroBatches)).stages[static_cast<size_t>(k)];
        const auto outcome = run.stages[k]->step->validate(forwards, 1, kTestTokens, test_ids);
        if (k == 0) losses[round] = outcome.is_ok() ? outcome.value().loss : -1;
      });
    }
  }
  EXPECT_GT(losses[0], 0);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(run.stages[0]->channel->traffic().total(), bytes);
  expect_same(before, run.stages[0]->values());
}

template <typename Each>
void on_both(const Each& each) {
  std::array<std::jthread, 2> threads;
  for (int k = 0; k < 2; ++k) threads[k] = std::jthread([&, k] { each(k); });
}

// The weights after three steps, when stage `cut`'s link breaks before it has sent `frames`.
//   cuts  counts the failures
std::vector<at::Tensor> after_three_steps(const codec::Options& codec, int cut, int frames,
                                          int& cuts) {
  TwoStages run(codec);
  const auto connect = [&](int limit) {
    run.links = TwoStages::make_links();
    run.links[cut] = std::make_unique<link::CutLink>(
        std::move(run.links[cut]),
        [left = limit](const link::Frame&) mutable { return left-- <= 0; });
    for (int k = 0; k < 2; ++k) run.stages[k]->connect(*run.links[k]);
  };
  connect(frames);
  const auto unfinished = [](const TestStage& stage) { return stage.transaction.finished < 3; };
  while (unfinished(*run.stages[0]) || unfinished(*run.stages[1])) {
    std::array<bool, 2> failed{};
    on_both([&](int k) {
      TestStage& stage = *run.stages[k];
      while (unfinished(stage) && !failed[k]) failed[k] = !stage.train(test_ids).is_ok();
      if (failed[k]) run.links[k]->close();
    });
    if (!failed[0] && !failed[1]) break;
    EXPECT_LE(++cuts, 2);
    connect(1 << 20);
    on_both([&](int k) {
      const Status status = run.stages[k]->rejoin();
      EXPECT_TRUE(status.is_ok()) << status.to_string();
    });
    EXPECT_EQ(run.stages[0]->transaction.finished, run.stages[1]->transaction.finished);
  }
  std::vector<at::Tensor> values = run.stages[0]->values();
  for (at::Tensor& value : run.stages[1]->values()) values.push_back(std::move(value));
  EXPECT_EQ(run.stages[0]->sender->state_hash(), run.stages[1]->receiver->state_hash());
  return values;
}

// Wherever the link breaks, what comes of it is what would have come anyway.
TEST(Step, ACutAtAnyFrameChangesNothing) {
  const codec::Options rvq{.projector = "stiefel",
                           .rank = 4,
                           .anchor = "none",
                           .activation = "rvq",
                           .gradient = "rvq",
                           .rvq_group_size = 2,
                           .rvq_entries = 8,
                           .rvq_warmup_steps = 2};
  const codec::Options feedback{.projector = "identity",
                                .anchor = "none",
                                .activation = "topk",
                                .gradient = "topk",
                                .topk = 3,
                                .topk_feedback = true};
  for (const codec::Options& codec : {rvq, feedback}) {
    int cuts = 0;
    const auto expected = after_three_steps(codec, 0, 1 << 20, cuts);
    ASSERT_EQ(cuts, 0);
    for (const int stage : {0, 1}) {
      for (int frames = 0;; ++frames) {
        int seen = 0;
        expect_same(after_three_steps(codec, stage, frames, seen), expected);
        if (seen == 0) break;  // all frames left
        ++cuts;
        ASSERT_LT(frames, 50);
      }
    }
    EXPECT_GE(cuts, 2 * 3 * (kTestMicroBatches + 1));
  }
}

}  // namespace
}  // namespace mapl::pipeline
