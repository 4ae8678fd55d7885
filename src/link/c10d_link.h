// A link over a Wire: frames and their flow control on an engine that moves messages of known
// length (c10d). Knows no tensor.
//
// A receiver must say how much it takes before anything is sent, so a frame is two messages: its
// header on one channel, its payload, once the header has been found to be right, on another.
// Control messages go on a third and are not kept up by either: docs/wire_format.md, section 3b.
//
// WHY four threads and not one: the engine offers a blocking wait per message, no poll over
// several.
//
// THREADS: as link.h says. Four threads of its own move frames and control messages; one of them
// owns the wire and drops it, and with it the connection, when the link is closed or has failed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "link/link.h"
#include "link/mailbox.h"
#include "link/wire.h"

namespace mapl::link {

class C10dLink : public Link {
 public:
  C10dLink(std::unique_ptr<Wire> wire, const LinkOptions& options);
  // Closes, and waits until the connection is gone. What flush() has not seen arrive may be lost.
  ~C10dLink() override;

  Status send(Frame&& frame, Deadline deadline) override;
  Result<Frame> recv(Deadline deadline) override;
  Status health() override;
  Status flush(Deadline deadline) override;
  void close() noexcept override;

 private:
  // A thread each, until the link ends.
  void send_control();
  void send_frames();
  void recv_control();
  void recv_frames();

  void run();             // all four
  bool is_control_due();  // REQUIRES: mutex_ held
  Status send_frame(const Outgoing& frame);
  Status recv_control_message();
  Result<Frame> recv_frame();
  void wake();  // the mailbox has changed
  void fail(const Status& why);
  void end() noexcept;

  Mailbox mailbox_;

  std::mutex mutex_;  // guards what follows; Mailbox's own may be taken inside
  std::condition_variable frames_changed_;   // send_frames() waits here
  std::condition_variable control_changed_;  // send_control() waits here
  std::unique_ptr<Wire> wire_;               // set until all threads have left it
  bool ended_ = false;
  bool control_due_ = true;  // the first opens the peer's way
  bool has_asked_ = false;   // the last one said that flush() waits
  bool peer_asks_ = false;   // the peer's last one did: it hears of every frame, since its question
                             // may have overtaken what it asks about
  Deadline heard_at_ = Clock::now();  // the peer's last control message
  uint64_t received_bytes_ = 0;       // of frames, ever
  uint64_t granted_bytes_ = 0;        // the peer may have sent so many, ever
  uint64_t handed_bytes_ = 0;         // to the engine, ever
  uint64_t limit_bytes_ = 0;          // the peer takes so many, ever

  std::jthread thread_;
};

}  // namespace mapl::link
