#include "pipeline/boundary.h"

#include <gtest/gtest.h>

#include "pipeline/two_stages_for_test.h"

namespace mapl::pipeline {
namespace {

TEST(Boundary, TheReceiverGetsTheIdsAndWhatTheSenderPacked) {
  TwoStages run;
  const at::Tensor y = torch::randn({kTestShape.rows(), 16});
  const auto z = run.stages[0]->next->send_activation(3, 1, y, test_ids(1));
  ASSERT_TRUE(z.is_ok()) << z.status().to_string();
  const auto activation = run.stages[1]->prev->recv_activation(3, 1);
  ASSERT_TRUE(activation.is_ok()) << activation.status().to_string();
  EXPECT_TRUE(torch::equal(activation.value().ids, test_ids(1)));
  EXPECT_TRUE(torch::equal(activation.value().z_NR, z.value().detach()));  // f32 is exact

  const at::Tensor grad = torch::randn({kTestShape.rows(), 4});
  ASSERT_TRUE(run.stages[1]->prev->send_gradient(3, 1, grad).is_ok());
  const auto back = run.stages[0]->next->recv_gradient(3, 1);
  ASSERT_TRUE(back.is_ok());
  EXPECT_TRUE(torch::equal(back.value(), grad));
}

TEST(Boundary, AnotherPackingThanAgreedIsRefused) {
  auto [a, b] =
      link::make_inproc_pair({.max_payload_bytes = 1 << 16}, {.max_payload_bytes = 1 << 16});
  codec::Options f32 = test_codec();
  codec::Options bf16 = f32;
  bf16.activation = "bf16";
  const TestStage sender(0, *a, bf16);
  TestStage receiver(1, *b, f32);
  ASSERT_TRUE(const_cast<TestStage&>(sender)
                  .next->send_activation(0, 0, torch::randn({kTestShape.rows(), 16}), test_ids(0))
                  .is_ok());
  const auto activation = receiver.prev->recv_activation(0, 0);
  ASSERT_FALSE(activation.is_ok());
  EXPECT_EQ(activation.status().code(), Code::kCorrupt);
}

TEST(Boundary, ABasisThatDriftsIsRefusedUnlessItIsFree) {
  const TwoStages run;
  EXPECT_TRUE(run.stages[0]->next->check_basis(1e-6).is_ok());
  EXPECT_EQ(run.stages[0]->next->check_basis(1.1e-6).code(), Code::kRefused);
  EXPECT_EQ(run.stages[0]->next->check_basis(NAN).code(), Code::kRefused);
  codec::Options free = test_codec();
  free.projector = "free";
  const TwoStages other(free);
  EXPECT_TRUE(other.stages[0]->next->check_basis(0.3).is_ok());
}

TEST(Boundary, TheLimitOfALinkHoldsEveryMessage) {
  const TwoStages run;
  const uint64_t limit = max_payload_bytes(*run.stages[0]->sender, kTestShape, 2, 0);
  EXPECT_GE(limit, static_cast<uint64_t>(link::kMaxAbortBytes));
  EXPECT_EQ(max_payload_bytes(*run.stages[1]->receiver, kTestShape, 2, 0), limit);
  EXPECT_EQ(max_payload_bytes(*run.stages[1]->receiver, kTestShape, 2, 99999), 99999u);

  codec::Options large = test_codec();  // codebooks that are larger than a micro-batch
  large.activation = "rvq";
  large.rvq_group_size = 2;
  large.rvq_rounds = 16;
  large.subtract_mean = true;
  const TwoStages other(large);
  const uint64_t most = max_payload_bytes(*other.stages[0]->sender, kTestShape, 2, 0);
  EXPECT_EQ(most, static_cast<uint64_t>(other.stages[0]->sender->most_forward_sync_bytes()));
  EXPECT_EQ(max_payload_bytes(*other.stages[1]->receiver, kTestShape, 2, 0), most);
}

}  // namespace
}  // namespace mapl::pipeline
