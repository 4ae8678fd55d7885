#include "link/probe.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "link/inproc.h"
#include "link/loopback_for_test.h"
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
    EXPECT_GE(report.there_ms(), 14);  // it is one clock, or two that were read one after the other
    EXPECT_GE(report.back_ms(), 14);
    EXPECT_NEAR(report.there_ms() + report.back_ms(), report.round_trip_ms, 1e-6);
  }
  EXPECT_NEAR(ours.value().send_mbps, theirs.value().recv_mbps, 0.01);
}

TEST(Probe, AClockThatIsWrongShows) {
  auto [a, b] = make_links();
  const auto fast = [] { return wall_ns() + 5'000'000'000; };
  Result<ProbeReport> theirs = Status(Code::kClosed, "not yet");
  std::jthread peer([&] { theirs = probe(*b, {.rounds = 5, .seconds = 0.1, .clock = fast}); });
  const auto ours = probe(*a, {.leads = true, .rounds = 5, .seconds = 0.1});
  peer.join();
  ASSERT_TRUE(ours.is_ok() && theirs.is_ok());
  EXPECT_NEAR(ours.value().clock_ahead_ms, 5000, ours.value().round_trip_ms);
  EXPECT_NEAR(theirs.value().clock_ahead_ms, -5000, theirs.value().round_trip_ms);
  EXPECT_LT(ours.value().back_ms(), 0);
  EXPECT_LT(theirs.value().there_ms(), 0);
}

TEST(Probe, APeerThatDoesSomethingElseIsNamed) {
  auto [a, b] = make_links();
  ASSERT_TRUE(b->send({.header = {.kind = Kind::kVote}}, in_seconds(1)).is_ok());
  EXPECT_EQ(probe(*a, {.leads = true}).status().code(), Code::kCorrupt);
  ASSERT_TRUE(b->send({.header = {.kind = Kind::kVote}}, in_seconds(1)).is_ok());
  EXPECT_EQ(probe(*a, {}).status().code(), Code::kCorrupt);
}

// A socket at loopback, and where it is.
struct Socket {
  Socket() : descriptor(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    bind(descriptor, reinterpret_cast<sockaddr*>(&address), size);
    getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
    endpoint = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~Socket() { close(descriptor); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int descriptor;
  std::string endpoint;
};

TEST(Probe, AKnockTellsWhyNobodyAnswers) {
  const Socket peer;  // bound: nobody else takes its port
  EXPECT_EQ(knock(peer.endpoint, in_seconds(30)).code(), Code::kRefused);
  listen(peer.descriptor, 0);
  EXPECT_TRUE(knock(peer.endpoint, in_seconds(30)).is_ok());
  const std::string no_name(64, 'x');  // longer than a part of a name may be: no server is asked
  const Status unknown = knock("tcp://" + no_name + ":5555", in_seconds(30));
  EXPECT_EQ(unknown.code(), Code::kIo);
  EXPECT_NE(unknown.message().find(no_name + " does not resolve"), std::string::npos)
      << unknown.message();
  EXPECT_EQ(knock("ipc:///nowhere/at-all", in_seconds(30)).code(), Code::kRefused);
}

// A listener whose queue is full drops what comes, as a firewall does.
TEST(Probe, AKnockWithoutAnAnswerEnds) {
  const Socket peer;
  listen(peer.descriptor, 0);
  for (int i = 0; i < 4; ++i) (void)knock(peer.endpoint, in_seconds(0.05));
  EXPECT_EQ(knock(peer.endpoint, in_seconds(0.2)).code(), Code::kTimeout);
}

}  // namespace
}  // namespace mapl::link
