#include "link/probe.h"

#include <gtest/gtest.h>

#include <thread>

#include "link/inproc.h"
#include "link/shaped.h"

namespace mapl::link {
namespace {

std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> make_links() {
  const LinkOptions options{.max_payload_bytes = kProbePayloadBytes,
                            .max_queued_bytes = kProbeQueuedBytes};
  return make_inproc_pair(options, options);
}

TEST(Probe, BothEndsMeasureTheLinkThatIsThere) {
  auto [a, b] = make_links();
  const ShapeOptions shape{
      .bandwidth_mbps = 40, .latency_ms = 15, .max_queued_bytes = kProbeQueuedBytes};
  const auto wire = std::make_shared<SerialWire>();
  a = make_shaped(std::move(a), shape, wire);
  b = make_shaped(std::move(b), shape, wire);
  Result<ProbeReport> theirs = Status(Code::kClosed, "not yet");
  std::jthread peer([&] { theirs = probe(*b, {.rounds = 5, .seconds = 0.3}); });
  const auto ours = probe(*a, {.leads = true, .rounds = 5, .seconds = 0.3});
  peer.join();
  ASSERT_TRUE(ours.is_ok()) << ours.status().to_string();
  ASSERT_TRUE(theirs.is_ok()) << theirs.status().to_string();
  for (const ProbeReport& report : {ours.value(), theirs.value()}) {
    EXPECT_GE(report.round_trip_ms, 30);
    EXPECT_GE(report.median_round_trip_ms, report.round_trip_ms);
    // How near to the wire's that is depends on when the machine lets its threads run.
    EXPECT_GT(report.send_mbps, 0);
    EXPECT_GT(report.recv_mbps, 0);
    EXPECT_LE(std::abs(report.clock_ahead_ms), report.round_trip_ms);  // it is one clock
  }
  EXPECT_NEAR(ours.value().send_mbps, theirs.value().recv_mbps, 0.01);
}

TEST(Probe, APeerThatDoesSomethingElseIsNamed) {
  auto [a, b] = make_links();
  ASSERT_TRUE(b->send({.header = {.kind = Kind::kVote}}, in_seconds(1)).is_ok());
  EXPECT_EQ(probe(*a, {.leads = true}).status().code(), Code::kCorrupt);
  ASSERT_TRUE(b->send({.header = {.kind = Kind::kVote}}, in_seconds(1)).is_ok());
  EXPECT_EQ(probe(*a, {}).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::link
