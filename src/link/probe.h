// Measures a link: how long a frame takes, how many bytes go through each way, how far apart the
// clocks are. Both ends call it at the same time, after the greeting; one of them leads.
#pragma once

#include "link/link.h"

namespace mapl::link {

struct ProbeOptions {
  bool leads = false;    // exactly one end does
  int rounds = 20;       // of the latency
  double seconds = 1.0;  // about so long each direction is filled
  double timeout_seconds = 30;
};

// As this end sees it.
struct ProbeReport {
  double round_trip_ms = 0;  // least of the rounds, of 48 bytes and a few
  double median_round_trip_ms = 0;
  double send_mbps =
      0;  // payload and header bits that arrived at the peer, over the time they took
  double recv_mbps = 0;
  double clock_ahead_ms = 0;  // the peer's wall clock before this end's, known to half a round trip
};

// What a link to be probed must allow, and how little should wait in its queue: what is still there
// when the time is over has to get through too.
constexpr uint64_t kProbePayloadBytes = 64 << 10;
constexpr uint64_t kProbeQueuedBytes = 256 << 10;

Result<ProbeReport> probe(Link& link, const ProbeOptions& options);

}  // namespace mapl::link
