// The I/O thread's half of a ZeroMQ link: owns the sockets, cuts frames into pieces and puts them
// together, keeps the peer informed and notices when it is gone.
//
// WHY a PAIR socket: it serves exactly one connection. A second one, even with the right key, is
// never given a pipe: it can neither inject nor receive, and the first does not notice (DEALER
// would share frames out among all who connect; ROUTER would read from all of them). libzmq
// (from 4.3.3) gives the pipe only after the handshake, so whoever has no key cannot take the place
// of the peer. Which connection holds the pipe is learnt from the first control message (its file
// descriptor): monitor events of any other are ignored.
//
// WHY not ZMTP's own PING and PONG: the answer has to come back behind all data that queues on the
// way, and a long message hides both, so on a slow link a live peer is declared dead. Here each end
// says by itself that it lives, and any piece of a frame counts. libzmq is never stopped from
// reading (the limit that each end announces bounds what arrives), so a disconnect shows at once
// even while the owner takes nothing.
//
// A disconnect, a wrong frame, silence: the session fails its mailbox and is finished. Whoever
// wants to go on makes a new link: nothing of the old one can then be taken for the new one's.
//
// THREADS: built by any thread, then only the I/O thread.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "link/chunks.h"
#include "link/mailbox.h"

namespace mapl::link {

// A PAIR socket and what libzmq reports of its connections.
class MonitoredSocket {
 public:
  explicit MonitoredSocket(zmq::context_t& context, const std::string& name);
  MonitoredSocket(MonitoredSocket&&) = default;
  ~MonitoredSocket() { close(); }

  zmq::socket_t& socket() { return socket_; }
  zmq::socket_t& monitor() { return monitor_; }
  // Of a socket that is bound: when this returns the endpoint can be bound again.
  void close(const std::string& bound_endpoint = "") noexcept;

 private:
  void release(const std::string& endpoint) noexcept;

  zmq::socket_t socket_;
  zmq::socket_t monitor_;
};

class Session {
 public:
  struct Setup {
    MonitoredSocket socket;  // bound or connecting
    std::shared_ptr<Mailbox> mailbox;
    std::string endpoint;  // for errors
    bool is_binder = false;
    bool has_keys = false;
  };
  explicit Session(Setup setup);

  // Does all that can be done without waiting. True while there is more to do.
  bool turn();
  // False when the sockets are closed and the session can be dropped.
  bool is_open() const { return is_open_; }
  // Its owner has closed it, and its goodbye may still be on the way.
  bool is_leaving() const { return is_open_ && leaves_at_; }
  // What must wake the I/O thread: these, or this time. REQUIRES: is_open().
  void append_poll_items(std::vector<zmq::pollitem_t>& items);
  Deadline next_due() const;

 private:
  void watch_peer();
  void watch_admitted();
  void read_monitor();
  void on_event(uint16_t event, int32_t value);
  void on_handshake_failed(uint16_t event, int32_t value);
  bool read_messages();  // true: stopped at the limit of one turn
  void on_message(const zmq::message_t& message);
  void on_control(const Control& control);
  void on_piece(ByteSpan piece);
  bool write_pieces();                 // true: stopped at the limit of one turn
  bool write(zmq::message_t message);  // false: ZeroMQ takes no more for now
  zmq::message_t control(bool wants_answer, bool goodbye) const;
  void write_control();
  void leave();
  void fail(Code code, const std::string& why);
  void shut();

  MonitoredSocket sockets_;
  zmq::socket_t& socket_;
  zmq::socket_t& monitor_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::string endpoint_;
  const bool is_binder_;
  const bool has_keys_;
  const Clock::duration heartbeat_;
  const Clock::duration silence_;

  bool is_open_ = true;
  std::set<int> live_fds_;      // connections of any peer
  int peer_fd_ = -1;            // the one that holds the pipe; -1 until its first control message
  bool knew_peer_ = false;      // when this turn began
  bool has_peer_left_ = false;  // its number may be another connection's by now
  std::optional<Clock::time_point> admitted_at_;  // of a handshake whose end has yet to speak
  Clock::time_point heard_at_;                    // the peer's last sign of life
  Clock::time_point spoke_at_;

  Assembler assembler_;
  uint64_t received_bytes_ = 0;  // of frames, ever
  uint64_t granted_bytes_ = 0;   // the peer may have sent so many, ever
  std::optional<Outgoing> outgoing_;
  uint64_t offset_ = 0;        // of outgoing_, already handed to ZeroMQ
  uint64_t handed_bytes_ = 0;  // to ZeroMQ, ever
  uint64_t limit_bytes_ = 0;   // the peer takes so many, ever
  bool control_due_ = false;
  bool is_blocked_ = false;            // ZeroMQ took no more
  bool has_asked_ = false;             // for an answer to a flush
  std::optional<Deadline> leaves_at_;  // set when the goodbye has been said: no later than this
};

}  // namespace mapl::link
