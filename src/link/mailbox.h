// Between the owner of a link and the threads that move its frames: a bounded queue each way. For
// ZeroMQ those are the one I/O thread, for c10d four of the link's own.
//
// THREADS: the owner's half as link.h says; the other half from any thread but the owner's.
// INVARIANT: once `failure` is set nothing goes out and it never changes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "link/chunks.h"
#include "link/link.h"

namespace mapl::link {

class Mailbox {
 public:
  // `wake` makes those threads look; it is called from any thread, without a lock, and never
  // blocks.
  Mailbox(LinkOptions options, std::function<void()> wake);

  // ---- the owner's half: the calls of Link
  // -------------------------------------------------------
  Status wait_connected(Deadline deadline);
  Status send(Frame&& frame, Deadline deadline);
  Result<Frame> recv(Deadline deadline);
  Status health();
  Status flush(Deadline deadline);
  void close() noexcept;

  // ---- the half of the threads that move frames
  // ---------------------------------------------------------------------
  bool is_closed();
  std::optional<Outgoing> take();  // the next frame to cut into pieces
  bool wants_flush();              // flush() waits and all that was sent has been handed out
  void left(uint64_t bytes);       // no longer waiting here: makes room for send()
  void deliver(Frame frame);       // checked and complete
  void connected();
  void peer_received(uint64_t bytes);  // the peer holds so many bytes of frames
  // Why a stranger, or the peer with a wrong key, was turned away while the link waits for its
  // peer.
  void turned_away(const std::string& why);
  void fail(Status why);
  // The owner has taken so much since take_consumed() that the peer should hear of it.
  bool credit_due();
  uint64_t take_consumed();  // bytes of frames that the owner has taken, ever

  const LinkOptions& options() const { return options_; }
  uint64_t max_frame_bytes() const;  // header and the largest payload

 private:
  // REQUIRES: mutex_ held.
  Status why_not() const;  // closed or failed, else ok
  bool is_credit_due() const;
  void drop_tensors();

  const LinkOptions options_;
  const std::function<void()> wake_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Outgoing> out_;
  std::deque<Frame> in_;
  uint64_t waiting_bytes_ = 0;        // sent, not yet handed to the engine
  uint64_t sent_bytes_ = 0;           // ever
  uint64_t peer_received_bytes_ = 0;  // ever
  uint64_t consumed_bytes_ = 0;       // ever
  uint64_t reported_bytes_ = 0;       // of those, the peer has been told of
  bool connected_ = false;
  bool closed_ = false;
  bool flushing_ = false;
  std::string turned_away_;
  Status aborted_;
  Status failure_;
};

}  // namespace mapl::link
