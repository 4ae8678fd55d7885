// Any link with a bandwidth and a latency put in front.
//
//   pipelined  as a real line: a frame leaves when the wire is free, takes its bits / bandwidth,
//              and arrives one latency later, while the next is on the wire. Reckoned by the
//              sender, per direction.
//   serial     the meter of ProtocolNanoGPT, for comparison with its published scores: latency
//              occupies the wire, and both links of a stage share one inbound wire. Reckoned by
//              the receiver; both ends must be shaped, and share a monotonic clock (one machine).
//
// A frame is billed with its header (kHeaderBytes) and its payload; pipelined, with what TCP and
// Ethernet add on a real line too (kLineShare). The published meter has no headers, only a time
// stamp that it does not bill; 48 bytes are 2 us at 200 Mbit/s.
//
// Times are kept as a schedule, not as sleeps added up, so late wake-ups do not accumulate.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "link/link.h"

namespace mapl::link {

enum class Meter { kPipelined, kSerial };

// What a line has left for mapl's frames: Ethernet frames of 1514 bytes carry 1448 of what TCP is
// given (IPv4, with time stamps).
constexpr double kLineShare = 1448.0 / 1514;

struct ShapeOptions {
  double bandwidth_mbps = 0.0;  // 10^6 bits per second; 0: unlimited
  double latency_ms = 0.0;      // one way; 0: none
  Meter meter = Meter::kPipelined;
  uint64_t max_queued_bytes =
      256u << 20;  // pipelined: send() blocks while more than this has not arrived
};

// The inbound wire of one stage, shared by both its links (serial).
struct SerialWire {
  std::mutex mutex;
  int64_t arrives_ns = 0;  // when the last message arrived
};

// `inner` itself when there is neither bandwidth nor latency.
//   REQUIRES: inner lets one thread send while another receives; `wire` is set for the serial
//   meter.
std::unique_ptr<Link> make_shaped(std::unique_ptr<Link> inner, const ShapeOptions& options,
                                  std::shared_ptr<SerialWire> wire);

// ---- the arithmetic of the meters; times in ns, bytes with the header -------------------------

// 8 bytes / bandwidth; 0 when unlimited.
int64_t transmission_ns(int64_t bytes, double bandwidth_mbps);

struct Passage {
  int64_t leaves_ns = 0;   // its last bit is on the wire: the wire is free
  int64_t arrives_ns = 0;  // its last bit is with the receiver
};
Passage pipelined_passage(int64_t wire_free_ns, int64_t sent_ns, int64_t bytes,
                          const ShapeOptions& options);

// starts = max(arrives, sent); arrives = starts + 8 bytes / bandwidth + latency. (algorithm of the
// published meter: one variable per stage, advanced when a message is received)
int64_t serial_arrival(int64_t arrives_ns, int64_t sent_ns, int64_t bytes,
                       const ShapeOptions& options);

}  // namespace mapl::link
