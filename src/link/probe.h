// Measures a link: how long a frame takes, how many bytes go through each way, how far apart the
// clocks are; and, where there is none, how far the way to it goes.
#pragma once

#include <functional>

#include "link/link.h"

namespace mapl::link {

// The wall clock, as the peer's is compared with it.
int64_t wall_ns();

struct ProbeOptions {
  bool leads = false;    // exactly one end does
  int rounds = 20;       // of the latency
  double seconds = 1.0;  // about so long each direction is filled
  double timeout_seconds = 30;
  std::function<int64_t()> clock = wall_ns;
};

// As this end sees it.
struct ProbeReport {
  double round_trip_ms = 0;  // least of the rounds, of 48 bytes and a few
  double median_round_trip_ms = 0;
  double send_mbps =
      0;  // payload and header bits that arrived at the peer, over the time they took
  double recv_mbps = 0;
  double clock_ahead_ms = 0;  // the peer's wall clock before this end's, known to half a round trip

  // One way of that round trip, by the wall clock of each end: right if these are equal, which no
  // exchange of messages can tell. One of the two below zero: they are not.
  double there_ms() const { return round_trip_ms / 2 + clock_ahead_ms; }
  double back_ms() const { return round_trip_ms / 2 - clock_ahead_ms; }
};

// What a link to be probed must allow, and how little should wait in its queue: what is still there
// when the time is over has to get through too.
constexpr uint64_t kProbePayloadBytes = 64 << 10;
constexpr uint64_t kProbeQueuedBytes = 256 << 10;

// Both ends call it at the same time, after the greeting.
Result<ProbeReport> probe(Link& link, const ProbeOptions& options);

// What is found where a peer should listen, by a connection that says nothing.
//   returns  ok: something listens there; kRefused: nothing does; kTimeout: no answer; kIo: a name
//            that does not resolve, no way there
Status knock(const std::string& endpoint, Deadline deadline);

}  // namespace mapl::link
