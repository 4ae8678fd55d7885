// An ordered, framed, two-way connection to one neighbour. A link never looks inside a payload.
//
// THREADS: one thread at a time in send() and flush(), one (the same or another) in recv();
// health() and close() from any thread. close() makes a blocked call return kClosed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "link/frame.h"

namespace mapl::link {

struct LinkOptions {
  std::string peer = "peer";       // how errors call the neighbour: "stage 2"
  uint64_t max_payload_bytes = 0;  // the largest payload that the codec declares: more is refused
                                   // before anything is allocated. A payload of kMaxAbortBytes
                                   // passes always, so that a hello or an abort frame can arrive
  uint64_t max_queued_bytes = 256u << 20;  // send() blocks while more than this waits to leave
  double heartbeat_seconds = 1.0;          // an idle peer is asked this often whether it lives
  double silence_seconds = 4.0;            // and is lost after this long without a word
};

class Link {
 public:
  virtual ~Link() = default;

  // Queues a frame and returns (header.payload_bytes is set to what the payload holds); the bytes
  // leave in the background, in order. Blocks only while the queue is over its limit. kPeerLost,
  // kTimeout (deadline passed while blocked) or kClosed. An abort takes the place of tensors that
  // have not begun to leave, and of what stands behind them. After kTimeout the frame is as it was,
  // for another try.
  virtual Status send(Frame&& frame, Deadline deadline) = 0;

  // The next frame, in the order sent, checked (length, checksum). A link that has failed gives
  // what arrived before the failure first, then the failure.
  virtual Result<Frame> recv(Deadline deadline) = 0;

  // Without waiting: ok, or why this link is of no more use: the connection's failure, or kAborted
  // or kEnded with the peer's words as soon as an abort frame has arrived, even while frames before
  // it wait to be received. (A stage that waits for one neighbour asks this of the other: that is
  // how a failure crosses a pipeline.)
  virtual Status health() = 0;

  // Waits until all that was sent has left this process and will reach the peer even if this end is
  // closed right after. kPeerLost, kTimeout or kClosed.
  virtual Status flush(Deadline deadline) = 0;

  // Drops what is queued and lets blocked calls return. Idempotent.
  virtual void close() noexcept = 0;
};

// kAborted, or kEnded for one that is final, with the words of an abort frame, made fit for a
// terminal.
Status abort_status(const Frame& abort);

// What must come next; anything else is kCorrupt with both named, and an abort frame is kAborted
// with the peer's own words.
struct Expected {
  Kind kind = Kind::kHello;
  uint64_t step = 0;
  uint32_t micro_batch = 0;
  uint64_t payload_bytes = 0;
  uint8_t packing = 0;
  bool or_fewer_bytes = false;  // payload_bytes is the most
};
//   ERRORS  those of recv(), with what was waited for in front
Result<Frame> recv_expected(Link& link, const Expected& expected, Deadline deadline);

}  // namespace mapl::link
