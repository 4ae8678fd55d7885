#include "pipeline/channel.h"

#include <gtest/gtest.h>

#include <future>

#include "link/inproc.h"

namespace mapl::pipeline {
namespace {

constexpr link::Kind kActivation = link::Kind::kActivation;

struct Pair {
  Pair() {
    auto [a, b] = link::make_inproc_pair({.peer = "stage 1", .max_payload_bytes = 5000},
                                         {.peer = "stage 0", .max_payload_bytes = 5000});
    first_link = std::move(a);
    second_link = std::move(b);
    first.emplace(*first_link, Channel::Options{.stage = 0, .neighbour = 1, .timeout_seconds = 5});
    second.emplace(*second_link,
                   Channel::Options{.stage = 1, .neighbour = 0, .timeout_seconds = 5});
  }
  std::unique_ptr<link::Link> first_link, second_link;
  std::optional<Channel> first, second;
};

TEST(Channel, CountsEveryByteWhereItLeaves) {
  Pair pair;
  const Channel::Message activation{.kind = kActivation, .step = 1};
  ASSERT_TRUE(pair.first->send(activation, Bytes(100), /*token_id_bytes=*/30).is_ok());
  ASSERT_TRUE(pair.first->send({.kind = link::Kind::kGradient, .step = 1}, Bytes(7)).is_ok());
  ASSERT_TRUE(pair.first->send({.kind = link::Kind::kVote, .step = 1}, Bytes(5)).is_ok());
  pair.first->set_counting(false);
  ASSERT_TRUE(pair.first->send({.kind = link::Kind::kVote, .step = 1}, Bytes(5)).is_ok());
  const Traffic& traffic = pair.first->traffic();
  EXPECT_EQ(traffic.activation_bytes, 70);
  EXPECT_EQ(traffic.token_id_bytes, 30);
  EXPECT_EQ(traffic.gradient_bytes, 7);
  EXPECT_EQ(traffic.sync_bytes, 5);
  EXPECT_EQ(traffic.header_bytes, 3 * link::kHeaderBytes);
  EXPECT_EQ(traffic.total(), 112 + 3 * link::kHeaderBytes);
  EXPECT_EQ(pair.second->traffic().total(), 0);
}

TEST(Channel, GivesThePayloadOfTheMessageThatIsDue) {
  Pair pair;
  ASSERT_TRUE(
      pair.first->send({.kind = kActivation, .step = 4, .micro_batch = 2}, Bytes(10, std::byte{3}))
          .is_ok());
  const auto payload = pair.second->recv({.kind = kActivation, .step = 4, .micro_batch = 2}, 10);
  ASSERT_TRUE(payload.is_ok()) << payload.status().to_string();
  EXPECT_EQ(payload.value(), Bytes(10, std::byte{3}));
}

TEST(Channel, ErrorsSayStageNeighbourStepMicroBatchAndDirection) {
  Pair pair;
  ASSERT_TRUE(
      pair.first->send({.kind = kActivation, .step = 4, .micro_batch = 1}, Bytes(10)).is_ok());
  const auto payload = pair.second->recv({.kind = kActivation, .step = 4, .micro_batch = 2}, 10);
  ASSERT_FALSE(payload.is_ok());
  EXPECT_EQ(payload.status().code(), Code::kCorrupt);
  EXPECT_EQ(payload.status().message().find(
                "stage 1: receiving activation of step 4, micro-batch 2, from stage 0: "),
            0u)
      << payload.status().message();
}

TEST(Channel, AnAbortEndsTheWaitWithThePeersWords) {
  Pair pair;
  pair.first->abort(4, "the disk is full", false);
  const auto payload = pair.second->recv({.kind = kActivation, .step = 4}, 10);
  EXPECT_EQ(payload.status().code(), Code::kAborted);
  EXPECT_NE(payload.status().message().find("the disk is full"), std::string::npos);
}

TEST(Channel, ARequestToStopEndsTheWaitsThatHeedIt) {
  Pair pair;
  std::stop_source stop;
  stop.request_stop();
  const Channel::Message message{.kind = kActivation, .step = 4};
  pair.second->heed(stop.get_token());
  EXPECT_EQ(pair.second->recv(message, 10).status().code(), Code::kClosed);
  pair.second->heed({});
  ASSERT_TRUE(pair.first->send(message, Bytes(10)).is_ok());
  EXPECT_TRUE(pair.second->recv(message, 10).is_ok());
}

// Stage 1 waits for stage 0, which is well; stage 2 goes.
TEST(Channel, AFailureOfTheOtherNeighbourEndsTheWait) {
  Pair towards_0, towards_2;
  Channel middle(*towards_0.second_link, {.stage = 1, .neighbour = 0, .timeout_seconds = 60});
  Channel other(*towards_2.first_link, {.stage = 1, .neighbour = 2});
  middle.watch(&other);
  towards_2.second->abort(4, "stage 2 ran out of memory", true);
  const auto payload = middle.recv({.kind = kActivation, .step = 4}, 10);
  EXPECT_EQ(payload.status().code(), Code::kEnded);
  EXPECT_NE(payload.status().message().find("link to stage 2"), std::string::npos)
      << payload.status().message();
  EXPECT_NE(payload.status().message().find("ran out of memory"), std::string::npos);
}

// Stage 0 lives and takes nothing; stage 2 goes.
TEST(Channel, AFailureOfTheOtherNeighbourEndsASendThatStandsStill) {
  const link::LinkOptions next_to_nothing{.max_payload_bytes = 5000, .max_queued_bytes = 1};
  auto [stage_0, stage_1] = link::make_inproc_pair(next_to_nothing, next_to_nothing);
  Pair towards_2;
  Channel middle(*stage_1, {.stage = 1, .neighbour = 0, .timeout_seconds = 60});
  Channel other(*towards_2.first_link, {.stage = 1, .neighbour = 2});
  middle.watch(&other);
  const Channel::Message gradient{.kind = link::Kind::kGradient, .step = 4};
  ASSERT_TRUE(middle.send(gradient, Bytes(10)).is_ok());
  towards_2.second->abort(4, "stage 2 ran out of memory", true);
  const Status status = middle.send(gradient, Bytes(10));
  EXPECT_EQ(status.code(), Code::kEnded) << status.to_string();
  EXPECT_NE(status.message().find("link to stage 2"), std::string::npos) << status.message();
}

// What waited for room leaves whole when there is some.
TEST(Channel, ASendThatWaitedLosesNothing) {
  const link::LinkOptions next_to_nothing{.max_payload_bytes = 5000, .max_queued_bytes = 1};
  auto [stage_0, stage_1] = link::make_inproc_pair(next_to_nothing, next_to_nothing);
  Channel sender(*stage_0, {.stage = 0, .neighbour = 1, .timeout_seconds = 60});
  Channel receiver(*stage_1, {.stage = 1, .neighbour = 0, .timeout_seconds = 60});
  const Channel::Message gradient{.kind = link::Kind::kGradient, .step = 4};
  ASSERT_TRUE(sender.send(gradient, Bytes(10, std::byte{1})).is_ok());
  auto second = std::async(std::launch::async,
                           [&] { return sender.send(gradient, Bytes(10, std::byte{2})); });
  // Longer than a look at the other neighbour takes.
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout);
  EXPECT_EQ(receiver.recv(gradient, 10).value(), Bytes(10, std::byte{1}));
  EXPECT_TRUE(second.get().is_ok());
  EXPECT_EQ(receiver.recv(gradient, 10).value(), Bytes(10, std::byte{2}));
}

TEST(Channel, AStageThatTakesTooLongIsATimeout) {
  Pair pair;
  Channel hasty(*pair.second_link, {.stage = 1, .neighbour = 0, .timeout_seconds = 0.01});
  EXPECT_EQ(hasty.recv({.kind = kActivation, .step = 4}, 10).status().code(), Code::kTimeout);
}

}  // namespace
}  // namespace mapl::pipeline
