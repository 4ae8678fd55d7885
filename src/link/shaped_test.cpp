#include "link/shaped.h"

#include <gtest/gtest.h>

#include <vector>

#include "link/inproc.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;

Frame vote(size_t payload_bytes) {
  return {.header = {.kind = Kind::kVote}, .payload = Bytes(payload_bytes)};
}

TEST(Shape, TransmissionIsBitsOverBandwidth) {
  EXPECT_EQ(transmission_ns(1'000'000, 100.0), 80'000'000);
  EXPECT_EQ(transmission_ns(48, 200.0), 1920);
  EXPECT_EQ(transmission_ns(1'000'000, 0.0), 0);
}

TEST(Shape, PipelinedLatencyOverlapsWithTheNextFrame) {
  // A byte per microsecond, and 1448 bytes are 1514 on the line.
  const ShapeOptions options{.bandwidth_mbps = 8.0, .latency_ms = 50.0};
  const Passage first = pipelined_passage(0, 1'000, 1448, options);
  EXPECT_EQ(first.leaves_ns, 1'515'000);
  EXPECT_EQ(first.arrives_ns, 51'515'000);
  // Sent while the wire is busy: leaves right after, and arrives one transmission later.
  const Passage second = pipelined_passage(first.leaves_ns, 2'000, 1448, options);
  EXPECT_EQ(second.leaves_ns, 3'029'000);
  EXPECT_EQ(second.arrives_ns, 53'029'000);
  // Sent when the wire has long been free: the wire's past does not matter.
  EXPECT_EQ(pipelined_passage(second.leaves_ns, 90'000'000, 1448, options).leaves_ns, 91'514'000);
}

TEST(Shape, SerialLatencyOccupiesTheWire) {
  const ShapeOptions options{.bandwidth_mbps = 200.0, .latency_ms = 50.0, .meter = Meter::kSerial};
  const int64_t first = serial_arrival(0, 1'000'000, 25'000, options);
  EXPECT_EQ(first, 1'000'000 + 1'000'000 + 50'000'000);
  EXPECT_EQ(serial_arrival(first, 2'000'000, 25'000, options), first + 51'000'000);
  EXPECT_EQ(serial_arrival(first, 900'000'000, 25'000, options), 951'000'000);
}

// The published runs: a stage that sends m frames one way costs tau = 8 bytes / bandwidth + latency
// each, 0.72109 s at 16384 tokens of 1024 bf16 values.
TEST(Shape, SerialReproducesThePublishedTau) {
  const ShapeOptions options{.bandwidth_mbps = 200.0, .latency_ms = 50.0, .meter = Meter::kSerial};
  const int64_t bytes = 8 * 1024 * 2048;
  int64_t arrives = 0;
  for (int i = 0; i < 10; ++i) arrives = serial_arrival(arrives, 0, bytes, options);
  EXPECT_NEAR(static_cast<double>(arrives) * 1e-10, 0.72109, 5e-6);  // as printed, five digits
}

TEST(Shape, NeitherBandwidthNorLatencyIsNotWrapped) {
  auto [a, b] = make_inproc_pair({}, {});
  Link* inner = a.get();
  EXPECT_EQ(make_shaped(std::move(a), {}, nullptr).get(), inner);
}

class ShapedMeter : public testing::TestWithParam<Meter> {};

TEST_P(ShapedMeter, FramesArriveInOrderAndNotBeforeTheirTime) {
  constexpr size_t kBytes = 12452;  // 12500 with the header: 1 ms at 100 Mbit/s (serial)
  constexpr int kCount = 20;
  const ShapeOptions options{.bandwidth_mbps = 100.0, .latency_ms = 2.0, .meter = GetParam()};
  const LinkOptions link{.max_payload_bytes = kBytes};
  auto [a, b] = make_inproc_pair(link, link);
  auto sender = make_shaped(std::move(a), options, std::make_shared<SerialWire>());
  auto receiver = make_shaped(std::move(b), options, std::make_shared<SerialWire>());
  const int64_t start = now_ns();
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(sender->send(vote(kBytes), in_seconds(kPatience)).is_ok());
  }
  int64_t wire = start;
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(receiver->recv(in_seconds(kPatience)).is_ok());
    int64_t arrives = 0;
    if (GetParam() == Meter::kPipelined) {
      const Passage passage = pipelined_passage(wire, start, kBytes + kHeaderBytes, options);
      wire = passage.leaves_ns;
      arrives = passage.arrives_ns;
    } else {
      arrives = wire = serial_arrival(wire, start, kBytes + kHeaderBytes, options);
    }
    EXPECT_GE(now_ns(), arrives) << "frame " << i;
  }
}

TEST_P(ShapedMeter, FrameStillOnTheWireIsATimeoutAndNotLost) {
  const ShapeOptions options{.latency_ms = 300.0, .meter = GetParam()};
  auto [a, b] = make_inproc_pair({}, {});
  auto sender = make_shaped(std::move(a), options, std::make_shared<SerialWire>());
  auto receiver = make_shaped(std::move(b), options, std::make_shared<SerialWire>());
  ASSERT_TRUE(sender->send(vote(8), in_seconds(kPatience)).is_ok());
  EXPECT_EQ(receiver->recv(in_seconds(0.001)).status().code(), Code::kTimeout);
  EXPECT_TRUE(receiver->recv(in_seconds(kPatience)).is_ok());
}

TEST_P(ShapedMeter, CloseDoesNotWaitForTheWire) {
  const ShapeOptions options{.latency_ms = 1e9, .meter = GetParam()};
  auto [a, b] = make_inproc_pair({}, {});
  auto sender = make_shaped(std::move(a), options, std::make_shared<SerialWire>());
  ASSERT_TRUE(sender->send(vote(8), in_seconds(kPatience)).is_ok());
  sender->close();
  EXPECT_EQ(sender->flush(in_seconds(kPatience)).code(), Code::kClosed);
}

TEST(Shape, AnAbortDoesNotWaitBehindTensorsThatTheWireHasNotBegun) {
  constexpr size_t kHuge = 8 << 20;  // 70 s at 1 Mbit/s
  const LinkOptions link{.max_payload_bytes = kHuge};
  auto [a, b] = make_inproc_pair(link, link);
  auto sender =
      make_shaped(std::move(a),
                  {.bandwidth_mbps = 1.0, .latency_ms = 1.0, .max_queued_bytes = 1 << 30}, nullptr);
  const auto send = [&](Kind kind, size_t bytes) {
    Frame frame{.header = {.kind = kind, .payload_bytes = bytes}, .payload = Bytes(bytes)};
    ASSERT_TRUE(sender->send(std::move(frame), in_seconds(kPatience)).is_ok());
  };
  send(Kind::kVote, 8);
  send(Kind::kGradient, 100000);  // begun, for 0.8 s: carried to its end
  for (int i = 0; i < 3; ++i) send(Kind::kGradient, kHuge);
  send(Kind::kAbort, 4);
  EXPECT_TRUE(sender->flush(in_seconds(kPatience)).is_ok());
  for (const Kind kind : {Kind::kVote, Kind::kGradient, Kind::kAbort}) {
    const auto frame = b->recv(in_seconds(kPatience));
    ASSERT_TRUE(frame.is_ok()) << frame.status().to_string();
    EXPECT_EQ(frame.value().header.kind, kind);
  }
}

INSTANTIATE_TEST_SUITE_P(Meters, ShapedMeter, testing::Values(Meter::kPipelined, Meter::kSerial),
                         [](const auto& info) {
                           return info.param == Meter::kPipelined ? "Pipelined" : "Serial";
                         });

TEST(Shape, SerialLinksOfAStageShareOneWire) {
  const ShapeOptions options{.latency_ms = 5.0, .meter = Meter::kSerial};
  auto wire = std::make_shared<SerialWire>();
  auto [prev, to_prev] = make_inproc_pair({}, {});
  auto [next, to_next] = make_inproc_pair({}, {});
  auto from_prev = make_shaped(std::move(to_prev), options, wire);
  auto from_next = make_shaped(std::move(to_next), options, wire);
  auto sender_prev = make_shaped(std::move(prev), options, std::make_shared<SerialWire>());
  auto sender_next = make_shaped(std::move(next), options, std::make_shared<SerialWire>());
  ASSERT_TRUE(sender_prev->send(vote(8), in_seconds(kPatience)).is_ok());
  ASSERT_TRUE(sender_next->send(vote(8), in_seconds(kPatience)).is_ok());
  ASSERT_TRUE(from_prev->recv(in_seconds(kPatience)).is_ok());
  const int64_t first = wire->arrives_ns;
  ASSERT_TRUE(from_next->recv(in_seconds(kPatience)).is_ok());
  EXPECT_GE(wire->arrives_ns, first + 5'000'000);
}

TEST(Shape, SerialRefusesFramesWithoutATime) {
  auto [a, b] = make_inproc_pair({}, {});
  auto receiver = make_shaped(std::move(b), {.latency_ms = 1.0, .meter = Meter::kSerial},
                              std::make_shared<SerialWire>());
  ASSERT_TRUE(a->send(vote(8), in_seconds(kPatience)).is_ok());
  EXPECT_EQ(receiver->recv(in_seconds(kPatience)).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::link
