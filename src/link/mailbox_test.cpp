// The I/O thread's half, seen from the owner's. What a Link must do is in link_contract_test.cpp.
#include "link/mailbox.h"

#include <gtest/gtest.h>

#include <thread>

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;
constexpr uint64_t kFrameBytes = kHeaderBytes + 100;

Frame frame(Kind kind = Kind::kVote) {
  return {.header = {.kind = kind}, .payload = Bytes(100, std::byte{'x'})};
}

class MailboxTest : public testing::Test {
 protected:
  int wakes_ = 0;
  Mailbox mailbox_{{.peer = "stage 1", .max_payload_bytes = 100, .max_queued_bytes = 400},
                   [this] { ++wakes_; }};
};

TEST_F(MailboxTest, SendWaitsForRoomUntilBytesHaveLeft) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
  EXPECT_EQ(wakes_, 3);
  EXPECT_EQ(mailbox_.send(frame(), in_seconds(0)).code(), Code::kTimeout);
  const auto taken = mailbox_.take();
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->size(), kFrameBytes);
  EXPECT_EQ(mailbox_.send(frame(), in_seconds(0)).code(), Code::kTimeout) << "taken has not left";
  mailbox_.left(kFrameBytes);
  EXPECT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
}

TEST_F(MailboxTest, AnAbortTakesThePlaceOfTensorsThatWait) {
  ASSERT_TRUE(mailbox_.send(frame(Kind::kActivation), in_seconds(0)).is_ok());
  ASSERT_TRUE(mailbox_.take().has_value());  // has begun to leave
  for (const Kind kind : {Kind::kCommit, Kind::kActivation, Kind::kVote}) {
    ASSERT_TRUE(mailbox_.send(frame(kind), in_seconds(0)).is_ok());
    mailbox_.left(kFrameBytes);  // room
  }
  ASSERT_TRUE(mailbox_.send(frame(Kind::kAbort), in_seconds(0)).is_ok());
  for (const Kind kind : {Kind::kCommit, Kind::kAbort}) {
    const auto taken = mailbox_.take();
    ASSERT_TRUE(taken.has_value());
    EXPECT_EQ(taken->kind, kind);
  }
  EXPECT_FALSE(mailbox_.take().has_value());
  mailbox_.peer_received(3 * kFrameBytes);
  EXPECT_TRUE(mailbox_.flush(in_seconds(0)).is_ok()) << "of what was dropped nothing is owed";
}

TEST_F(MailboxTest, AnAbortDoesNotWaitForRoom) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
  ASSERT_EQ(mailbox_.send(frame(), in_seconds(0)).code(), Code::kTimeout);
  EXPECT_TRUE(mailbox_.send(frame(Kind::kAbort), in_seconds(0)).is_ok());
}

TEST_F(MailboxTest, FlushWaitsForThePeersWord) {
  EXPECT_TRUE(mailbox_.flush(in_seconds(0)).is_ok()) << "nothing was sent";
  ASSERT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
  EXPECT_FALSE(mailbox_.wants_flush());
  std::jthread io([&] {
    while (!mailbox_.take().has_value()) std::this_thread::yield();
    mailbox_.left(kFrameBytes);
    while (!mailbox_.wants_flush()) std::this_thread::yield();
    mailbox_.peer_received(kFrameBytes);
  });
  EXPECT_TRUE(mailbox_.flush(in_seconds(kPatience)).is_ok());
}

TEST_F(MailboxTest, FlushOfWhatThePeerHasIsGoodEvenAfterItLeft) {
  ASSERT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
  mailbox_.peer_received(kFrameBytes);
  mailbox_.fail({Code::kPeerLost, "gone"});
  EXPECT_TRUE(mailbox_.flush(in_seconds(0)).is_ok());
}

TEST_F(MailboxTest, CreditIsDueAfterAQuarterOfTheQueue) {
  EXPECT_FALSE(mailbox_.credit_due());
  mailbox_.deliver(frame());
  EXPECT_FALSE(mailbox_.credit_due()) << "not yet taken";
  ASSERT_TRUE(mailbox_.recv(in_seconds(0)).is_ok());
  EXPECT_TRUE(mailbox_.credit_due());
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(mailbox_.take_consumed(), kFrameBytes);
  EXPECT_FALSE(mailbox_.credit_due());
}

TEST_F(MailboxTest, FirstFailureStaysAndComesAfterWhatArrived) {
  mailbox_.deliver(frame());
  mailbox_.fail({Code::kCorrupt, "first"});
  mailbox_.fail({Code::kPeerLost, "second"});
  EXPECT_EQ(mailbox_.health().code(), Code::kCorrupt);
  EXPECT_TRUE(mailbox_.recv(in_seconds(0)).is_ok());
  EXPECT_EQ(mailbox_.recv(in_seconds(0)).status().message(), "first");
  EXPECT_EQ(mailbox_.send(frame(), in_seconds(0)).message(), "first");
}

TEST_F(MailboxTest, AbortIsKnownBeforeItsTurn) {
  mailbox_.deliver(frame());
  mailbox_.deliver(frame(Kind::kAbort));
  mailbox_.fail({Code::kPeerLost, "gone"});
  EXPECT_EQ(mailbox_.health().code(), Code::kAborted);
}

TEST_F(MailboxTest, ConnectionTellsWhyThereIsNone) {
  EXPECT_EQ(mailbox_.wait_connected(in_seconds(0)).code(), Code::kTimeout);
  mailbox_.turned_away("another key");
  EXPECT_EQ(mailbox_.wait_connected(in_seconds(0)).code(), Code::kRefused);
  mailbox_.connected();
  EXPECT_TRUE(mailbox_.wait_connected(in_seconds(0)).is_ok());
}

TEST_F(MailboxTest, CloseDropsBothQueues) {
  ASSERT_TRUE(mailbox_.send(frame(), in_seconds(0)).is_ok());
  mailbox_.deliver(frame());
  mailbox_.close();
  mailbox_.deliver(frame());
  EXPECT_TRUE(mailbox_.is_closed());
  EXPECT_FALSE(mailbox_.take().has_value());
  EXPECT_EQ(mailbox_.recv(in_seconds(0)).status().code(), Code::kClosed);
}

}  // namespace
}  // namespace mapl::link
