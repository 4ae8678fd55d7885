// Meeting, and the engine's words as Status. What a Link must do is in link_contract_test.cpp.
#include "link/c10d.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "link/c10d_for_test.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;

class C10d : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_c10d()) GTEST_SKIP() << "this LibTorch has none";
  }
};

TEST_F(C10d, StageZeroPicksAPort) {
  const auto first = start_on_loopback(0, 0);
  EXPECT_NE(first->port(), 0);
  EXPECT_EQ(start_on_loopback(1, first->port())->port(), first->port());
}

TEST_F(C10d, APortInUseIsTheUsersMistake) {
  const auto first = start_on_loopback(0, 0);
  try {
    (void)C10dContext::start(stage_on_loopback(0, first->port()), in_seconds(kPatience));
    FAIL() << "two stores on one port";
  } catch (const UserError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(std::to_string(first->port())), std::string::npos) << message;
    EXPECT_NE(message.find("MASTER_PORT"), std::string::npos) << message;
  }
}

TEST_F(C10d, AStageZeroThatIsNotThereIsATimeout) {
  const uint16_t port = start_on_loopback(0, 0)->port();  // was free, and is again
  const auto started = C10dContext::start(stage_on_loopback(1, port), in_seconds(1));
  EXPECT_EQ(started.status().code(), Code::kTimeout) << started.status().to_string();
  EXPECT_NE(started.status().message().find("MASTER_ADDR"), std::string::npos);
}

TEST_F(C10d, ANeighbourThatDoesNotComeIsATimeout) {
  const auto first = start_on_loopback(0, 0);
  const auto opened = first->open(1, {.peer = "stage 1"}, in_seconds(0.5));
  EXPECT_EQ(opened.status().code(), Code::kTimeout) << opened.status().to_string();
  EXPECT_NE(opened.status().message().find("stage 1 did not connect"), std::string::npos)
      << opened.status().message();
}

TEST_F(C10d, NcclWithoutAGpuOrInABuildWithoutItIsRefused) {
  C10dOptions options = stage_on_loopback(0, 0);
  options.backend = "nccl";
  EXPECT_THROW((void)C10dContext::start(options, in_seconds(kPatience)), UserError);
}

TEST_F(C10d, ASilentPeerIsLost) {
  // One end never gets to say that it lives.
  auto [a, b] = make_c10d_pair({.peer = "stage 1", .silence_seconds = 0.2},
                               {.heartbeat_seconds = kPatience, .silence_seconds = kPatience});
  const Status status = a->recv(in_seconds(kPatience)).status();
  EXPECT_EQ(status.code(), Code::kPeerLost);
  EXPECT_NE(status.message().find("stage 1: silent for 0.2 s"), std::string::npos)
      << status.message();
}

TEST_F(C10d, ALinkOutlivesItsContextsAndItsNeighbour) {
  auto [a, b] = make_c10d_pair({.max_payload_bytes = 100}, {.max_payload_bytes = 100});
  ASSERT_TRUE(a->send({.payload = Bytes(100)}, in_seconds(kPatience)).is_ok());
  ASSERT_TRUE(a->flush(in_seconds(kPatience)).is_ok());
  a.reset();
  EXPECT_TRUE(b->recv(in_seconds(kPatience)).is_ok());
  const Status status = b->recv(in_seconds(kPatience)).status();
  EXPECT_EQ(status.code(), Code::kPeerLost);
  EXPECT_NE(status.message().find("the connection broke"), std::string::npos) << status.message();
}

TEST_F(C10d, ALinkThatWasLostIsOpenedAnew) {
  const auto first = start_on_loopback(0, 0);
  const auto second = start_on_loopback(1, first->port());
  for (int i = 0; i < 3; ++i) {
    auto [a, b] = open_both(*first, *second, {}, {});
    ASSERT_TRUE(a->send({.header = {.step = 5}}, in_seconds(kPatience)).is_ok());
    EXPECT_EQ(b->recv(in_seconds(kPatience)).value().header.step, 5);
  }
}

}  // namespace
}  // namespace mapl::link
