// Flow control and failures, with the test as engine and peer. What a Link must do is in
// link_contract_test.cpp, over the real engine.
#include "link/c10d_link.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;
constexpr uint64_t kPayloadBytes = 5000;
constexpr uint64_t kFrameBytes = kHeaderBytes + kPayloadBytes;

// What the link sends and receives; outlives its wire.
struct Peer {
  std::mutex mutex;
  std::condition_variable changed;
  std::array<std::deque<Bytes>, kNumChannels> from_link;
  std::array<std::deque<Bytes>, kNumChannels> to_link;
  std::array<int, kNumChannels> num_asked{};  // receives that the link has started
  bool aborted = false;
  bool is_gone = false;  // the link has dropped its wire

  void give(Channel channel, Bytes bytes) {
    std::lock_guard lock(mutex);
    to_link[static_cast<size_t>(channel)].push_back(std::move(bytes));
    changed.notify_all();
  }
  Bytes take(Channel channel) {
    auto& queue = from_link[static_cast<size_t>(channel)];
    std::unique_lock lock(mutex);
    const bool is_there =
        changed.wait_until(lock, in_seconds(kPatience), [&] { return !queue.empty(); });
    if (!is_there) throw std::runtime_error("the link sent nothing");
    Bytes bytes = std::move(queue.front());
    queue.pop_front();
    return bytes;
  }
  bool has(Channel channel) {
    std::lock_guard lock(mutex);
    return !from_link[static_cast<size_t>(channel)].empty();
  }
  Control take_control() { return decode_control(take(Channel::kControl)).value(); }
  // The link has left the wire and dropped the connection.
  void wait_until_gone() {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_until(lock, in_seconds(kPatience), [&] { return is_gone; }));
    EXPECT_TRUE(aborted);
  }
  void give_frame(const Frame& frame) {
    give(Channel::kHeader, encode_header(frame));
    give(Channel::kPayload, frame.payload);
  }
};

class FakeWire : public Wire {
 public:
  explicit FakeWire(Peer& peer) : peer_(peer) {}
  ~FakeWire() override {
    std::lock_guard lock(peer_.mutex);
    peer_.is_gone = true;
    peer_.changed.notify_all();
  }
  Status send(Channel channel, ByteSpan bytes) override {
    std::lock_guard lock(peer_.mutex);
    if (peer_.aborted) return {Code::kClosed, "aborted"};
    peer_.from_link[static_cast<size_t>(channel)].emplace_back(bytes.begin(), bytes.end());
    peer_.changed.notify_all();
    return Status::ok();
  }
  Status recv(Channel channel, std::span<std::byte> bytes, double patience_seconds) override {
    auto& queue = peer_.to_link[static_cast<size_t>(channel)];
    std::unique_lock lock(peer_.mutex);
    ++peer_.num_asked[static_cast<size_t>(channel)];
    peer_.changed.wait_until(lock, in_seconds(std::min(patience_seconds, kPatience)),
                             [&] { return peer_.aborted || !queue.empty(); });
    if (peer_.aborted) return {Code::kClosed, "aborted"};
    if (queue.empty()) return {Code::kPeerLost, "silent"};
    EXPECT_EQ(queue.front().size(), bytes.size());
    std::copy(queue.front().begin(), queue.front().end(), bytes.begin());
    queue.pop_front();
    return Status::ok();
  }
  void abort() noexcept override {
    std::lock_guard lock(peer_.mutex);
    peer_.aborted = true;
    peer_.changed.notify_all();
  }

 private:
  Peer& peer_;
};

Frame make_frame(uint64_t step, size_t payload_bytes = kPayloadBytes) {
  return {.header = {.kind = Kind::kGradient, .step = step},
          .payload = Bytes(payload_bytes, static_cast<std::byte>(step))};
}

class C10dLinkTest : public testing::Test {
 protected:
  void open(LinkOptions options = {}) {
    options.peer = "stage 4";
    options.max_payload_bytes = kPayloadBytes;
    link_ = std::make_unique<C10dLink>(std::make_unique<FakeWire>(peer_), options);
    first_ = peer_.take_control();
  }
  // The link gives up, says why, and drops the connection.
  void expect_failure(Code code, const std::string& word) {
    const Status status = link_->recv(in_seconds(kPatience)).status();
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_NE(status.message().find("stage 4: "), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
    peer_.wait_until_gone();
  }

  Peer peer_;
  Control first_;  // grants the peer its first frames
  std::unique_ptr<C10dLink> link_;
};

TEST_F(C10dLinkTest, AFrameLeavesWhenThePeerHasRoomForIt) {
  open();
  peer_.give(Channel::kControl, encode_control({.limit_bytes = kFrameBytes}));
  ASSERT_TRUE(link_->send(make_frame(1), in_seconds(kPatience)).is_ok());
  ASSERT_TRUE(link_->send(make_frame(2), in_seconds(kPatience)).is_ok());
  EXPECT_EQ(decode_header(peer_.take(Channel::kHeader), kPayloadBytes).value().step, 1);
  EXPECT_EQ(peer_.take(Channel::kPayload), make_frame(1).payload);
  EXPECT_FALSE(peer_.has(Channel::kHeader));
  peer_.give(Channel::kControl,
             encode_control({.received_bytes = kFrameBytes, .limit_bytes = 2 * kFrameBytes}));
  EXPECT_EQ(decode_header(peer_.take(Channel::kHeader), kPayloadBytes).value().step, 2);
}

TEST_F(C10dLinkTest, AnEmptyPayloadIsNoMessage) {
  open();
  peer_.give(Channel::kControl, encode_control({.limit_bytes = kFrameBytes}));
  ASSERT_TRUE(link_->send(make_frame(1, 0), in_seconds(kPatience)).is_ok());
  ASSERT_TRUE(link_->send(make_frame(2, 3), in_seconds(kPatience)).is_ok());
  EXPECT_EQ(peer_.take(Channel::kPayload).size(), 3);
  peer_.give(Channel::kHeader, encode_header(make_frame(3, 0)));
  EXPECT_EQ(link_->recv(in_seconds(kPatience)).value().header.step, 3);
}

TEST_F(C10dLinkTest, FlushWaitsForThePeersWord) {
  open();
  peer_.give(Channel::kControl, encode_control({.limit_bytes = kFrameBytes}));
  ASSERT_TRUE(link_->send(make_frame(1), in_seconds(kPatience)).is_ok());
  (void)peer_.take(Channel::kPayload);
  EXPECT_EQ(link_->flush(in_seconds(0)).code(), Code::kTimeout);
  peer_.give(Channel::kControl,
             encode_control({.received_bytes = kFrameBytes, .limit_bytes = kFrameBytes}));
  EXPECT_TRUE(link_->flush(in_seconds(kPatience)).is_ok());
}

TEST_F(C10dLinkTest, RoomIsGrantedAsTheOwnerTakesFrames) {
  open({.max_queued_bytes = 2 * kFrameBytes, .heartbeat_seconds = kPatience});
  EXPECT_EQ(first_.limit_bytes, 3 * kFrameBytes);
  peer_.give_frame(make_frame(1));
  EXPECT_EQ(link_->recv(in_seconds(kPatience)).value().payload, make_frame(1).payload);
  EXPECT_EQ(peer_.take_control().limit_bytes, 4 * kFrameBytes);
}

TEST_F(C10dLinkTest, APeerThatFlushesHearsOfFramesThatItsQuestionHasOvertaken) {
  open({.heartbeat_seconds = kPatience});
  peer_.give(Channel::kControl, encode_control({.wants_answer = true}));
  EXPECT_EQ(peer_.take_control().received_bytes, 0);
  peer_.give_frame(make_frame(1));
  EXPECT_EQ(peer_.take_control().received_bytes, kFrameBytes);
}

TEST_F(C10dLinkTest, FlushAsksOnce) {
  open({.heartbeat_seconds = kPatience});
  peer_.give(Channel::kControl, encode_control({.limit_bytes = kFrameBytes}));
  ASSERT_TRUE(link_->send(make_frame(1), in_seconds(kPatience)).is_ok());
  std::jthread owner([&] { EXPECT_TRUE(link_->flush(in_seconds(kPatience)).is_ok()); });
  EXPECT_TRUE(peer_.take_control().wants_answer);
  peer_.give(Channel::kControl, encode_control({.received_bytes = kFrameBytes}));
  owner.join();
  EXPECT_FALSE(peer_.has(Channel::kControl));
}

TEST_F(C10dLinkTest, AnIdleLinkSaysThatItLives) {
  open({.heartbeat_seconds = 0.001});
  for (int i = 0; i < 5; ++i) (void)peer_.take_control();
}

TEST_F(C10dLinkTest, ASilentPeerIsLost) {
  open({.silence_seconds = 0.01});
  expect_failure(Code::kPeerLost, "silent");
  EXPECT_EQ(link_->health().code(), Code::kPeerLost);
}

TEST_F(C10dLinkTest, AnOversizeAnnouncementIsRefusedBeforeItsPayloadIsAskedFor) {
  open();
  peer_.give(Channel::kHeader, encode_header(make_frame(1, kPayloadBytes + 1)));
  expect_failure(Code::kCorrupt, "5001");
  EXPECT_EQ(peer_.num_asked[static_cast<size_t>(Channel::kPayload)], 0);
}

TEST_F(C10dLinkTest, MoreThanWasGrantedIsRefused) {
  open({.max_queued_bytes = kFrameBytes});
  for (uint64_t step : {1, 2, 3}) peer_.give_frame(make_frame(step));
  peer_.wait_until_gone();
  EXPECT_TRUE(link_->recv(in_seconds(kPatience)).is_ok());
  EXPECT_TRUE(link_->recv(in_seconds(kPatience)).is_ok());
  expect_failure(Code::kCorrupt, "granted");
}

TEST_F(C10dLinkTest, AChangedPayloadIsRefused) {
  open();
  Frame frame = make_frame(1);
  peer_.give(Channel::kHeader, encode_header(frame));
  frame.payload[77] ^= std::byte{1};
  peer_.give(Channel::kPayload, frame.payload);
  expect_failure(Code::kCorrupt, "checksum");
}

TEST_F(C10dLinkTest, AcknowledgingWhatWasNotSentIsRefused) {
  open();
  peer_.give(Channel::kControl, encode_control({.received_bytes = 1}));
  expect_failure(Code::kCorrupt, "acknowledges");
}

TEST_F(C10dLinkTest, AnotherVersionIsRefused) {
  open();
  Bytes control = encode_control({});
  control[2] ^= std::byte{0x40};
  peer_.give(Channel::kControl, control);
  expect_failure(Code::kRefused, "install the same mapl");
}

TEST_F(C10dLinkTest, ClosingDropsTheConnection) {
  open();
  link_->close();
  peer_.wait_until_gone();
}

}  // namespace
}  // namespace mapl::link
