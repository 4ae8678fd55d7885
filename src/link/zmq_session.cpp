#include "link/zmq_session.h"

#include <fmt/format.h>

#include <algorithm>

namespace mapl::link {
namespace {

constexpr int kEvents = ZMQ_EVENT_CLOSED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED |
                        ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;

// Messages handled per turn, so that no link starves the others.
constexpr int kMessagesPerTurn = 64;
// An endpoint is given back within this.
constexpr double kReleaseSeconds = 1;
// After close() a goodbye gets this long to be answered by the end of the connection.
constexpr double kGoodbyeSeconds = 1;

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

// -1 for a message without one. cppzmq has no name for this property.
int fd_of(const zmq::message_t& message) {
  return zmq_msg_get(const_cast<zmq::message_t&>(message).handle(), ZMQ_SRCFD);
}

}  // namespace

MonitoredSocket::MonitoredSocket(zmq::context_t& context, const std::string& name)
    : socket_(context, zmq::socket_type::pair), monitor_(context, zmq::socket_type::pair) {
  const std::string address = "inproc://monitor-" + name;
  if (zmq_socket_monitor(socket_.handle(), address.c_str(), kEvents) != 0) throw zmq::error_t();
  socket_.set(zmq::sockopt::linger, 0);
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.connect(address);
}

void MonitoredSocket::close(const std::string& bound_endpoint) noexcept {
  if (!socket_) return;
  if (!bound_endpoint.empty()) release(bound_endpoint);
  // WHY first: libzmq's thread blocks for good on an event that nobody is there to read.
  zmq_socket_monitor(socket_.handle(), nullptr, 0);
  socket_.close();
  monitor_.close();
}

// WHY: libzmq's thread closes a listener some time after zmq_close(), and then unlinks an ipc path,
// which by that time may be the next socket's.
void MonitoredSocket::release(const std::string& endpoint) noexcept {
  if (zmq_unbind(socket_.handle(), endpoint.c_str()) != 0) return;
  const Deadline deadline = in_seconds(kReleaseSeconds);
  while (Clock::now() < deadline) {
    zmq_msg_t event;
    zmq_msg_init(&event);
    zmq_pollitem_t item{monitor_.handle(), 0, ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, 10);
    const bool got = zmq_msg_recv(&event, monitor_.handle(), ZMQ_DONTWAIT) >= 2;
    uint16_t kind = 0;
    if (got) std::memcpy(&kind, zmq_msg_data(&event), sizeof(kind));
    zmq_msg_close(&event);
    if (kind == ZMQ_EVENT_CLOSED) return;
  }
}

Session::Session(Setup setup)
    : sockets_(std::move(setup.socket)),
      socket_(sockets_.socket()),
      monitor_(sockets_.monitor()),
      mailbox_(std::move(setup.mailbox)),
      endpoint_(std::move(setup.endpoint)),
      is_binder_(setup.is_binder),
      has_keys_(setup.has_keys),
      heartbeat_(seconds(mailbox_->options().heartbeat_seconds)),
      silence_(seconds(mailbox_->options().silence_seconds)),
      assembler_(mailbox_->max_frame_bytes() - kHeaderBytes) {}

bool Session::turn() try {
  is_blocked_ = false;
  knew_peer_ = peer_fd_ >= 0;
  const bool more_to_read = read_messages();
  // After the messages: all events of the connection that sent the first of them are there by now.
  read_monitor();
  if (is_open_ && peer_fd_ >= 0) watch_peer();
  if (is_open_ && peer_fd_ < 0) watch_admitted();
  if (is_open_ && mailbox_->is_closed()) leave();
  if (!is_open_ || leaves_at_) return false;
  if (control_due_) write_control();
  const bool more_to_write = write_pieces();
  if (mailbox_->wants_flush() && !has_asked_) write_control();
  return more_to_read || more_to_write;
} catch (const zmq::error_t& error) {
  fail(Code::kIo, error.what());
  return false;
}

void Session::watch_peer() {
  if (has_peer_left_ || !live_fds_.contains(peer_fd_)) {
    while (read_messages()) {
    }
    if (is_open_) fail(Code::kPeerLost, "the connection broke");
    return;
  }
  const auto now = Clock::now();
  if (now >= heard_at_ + silence_) {
    fail(Code::kPeerLost, fmt::format("silent for {:.1f} s", mailbox_->options().silence_seconds));
  }
  if (now >= spoke_at_ + heartbeat_ || mailbox_->credit_due()) control_due_ = true;
}

// WHY: whoever has the right key and vanishes before its first word would hold the one pipe until
// TCP gives up, a quarter of an hour, and the peer that comes again would get none.
void Session::watch_admitted() {
  if (live_fds_.empty()) admitted_at_.reset();
  if (!admitted_at_ || Clock::now() < *admitted_at_ + silence_) return;
  fail(Code::kPeerLost,
       fmt::format("silent for {:.1f} s after the handshake; is it busy with another run?",
                   mailbox_->options().silence_seconds));
}

void Session::append_poll_items(std::vector<zmq::pollitem_t>& items) {
  const auto events = static_cast<short>(is_blocked_ ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN);
  items.push_back({socket_.handle(), 0, events, 0});
  items.push_back({monitor_.handle(), 0, ZMQ_POLLIN, 0});
}

Deadline Session::next_due() const {
  if (peer_fd_ < 0) return admitted_at_ ? *admitted_at_ + silence_ : Deadline::max();
  if (leaves_at_) return *leaves_at_;
  if (is_blocked_) return heard_at_ + silence_;
  return std::min(spoke_at_ + heartbeat_, heard_at_ + silence_);
}

void Session::read_monitor() {
  zmq::message_t event;
  zmq::message_t address;
  while (is_open_ && monitor_.recv(event, zmq::recv_flags::dontwait)) {
    if (event.more()) (void)monitor_.recv(address);
    const ByteSpan bytes(event.data<std::byte>(), event.size());
    on_event(read_at<uint16_t>(bytes, 0), read_at<int32_t>(bytes, 2));
  }
}

void Session::on_event(uint16_t event, int32_t value) {
  switch (event) {
    case ZMQ_EVENT_ACCEPTED:
    case ZMQ_EVENT_CONNECTED:
      live_fds_.insert(value);
      break;
    case ZMQ_EVENT_DISCONNECTED:
      live_fds_.erase(value);
      // WHY not at once: what is read in the turn that found the peer may be older than it.
      has_peer_left_ = has_peer_left_ || (knew_peer_ && value == peer_fd_);
      break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
      if (!admitted_at_) admitted_at_ = Clock::now();
      write_control();
      break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
      on_handshake_failed(event, value);
      break;
    default:
      break;
  }
}

void Session::on_handshake_failed(uint16_t event, int32_t value) {
  // libzmq says the same of any message that was altered, repeated or left out later on.
  if (!is_binder_ && peer_fd_ >= 0) return fail(Code::kCorrupt, "what came is not what it sent");
  std::string why;
  if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
    why = "it expects another key than this end's: check the public keys in the recipe";
  } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
             value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
    why = "one end has a key and the other has none: give both a key, or neither";
  } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
             value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC) {
    why = "it holds another key than the one expected: check the public keys in the recipe";
  } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
    why = "what answers there is not a mapl stage";
  } else {
    // Hung up without a word: a stranger at the binder's door. For who connects it is the binder
    // whose key is another, or one that is leaving, or something that forwards to one that is not
    // there yet: libzmq goes on trying.
    if (!is_binder_ && has_keys_) {
      mailbox_->turned_away(
          fmt::format("{} at {} hangs up during the key exchange: its key is another than the one "
                      "expected (check the public keys in the recipe), or what answers there only "
                      "forwards to it and it is not running",
                      mailbox_->options().peer, endpoint_));
    }
    return;
  }
  // WHY: anyone can knock at the binder; that must not keep the peer out. Who connects knows whom
  // it has reached, and waits for nobody else.
  if (is_binder_) {
    if (event != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {  // the gate has said who
      mailbox_->turned_away(fmt::format("{} did not come; who came was turned away: {}",
                                        mailbox_->options().peer, why));
    }
    return;
  }
  fail(Code::kRefused, why);
}

bool Session::read_messages() {
  zmq::message_t message;
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    if (!socket_.recv(message, zmq::recv_flags::dontwait)) return false;
    on_message(message);
    if (!is_open_) return false;
  }
  return true;
}

void Session::on_message(const zmq::message_t& message) {
  const int fd = fd_of(message);
  if (peer_fd_ >= 0 && fd != peer_fd_) return;  // libzmq connected again: that peer is not ours
  const ByteSpan bytes(message.data<std::byte>(), message.size());
  if (bytes.empty() || message.more()) return fail(Code::kCorrupt, "a malformed message");
  heard_at_ = Clock::now();
  if (read_at<MessageType>(bytes, 0) == MessageType::kPiece && peer_fd_ >= 0) {
    return on_piece(bytes.subspan(1));
  }
  Result<Control> control = decode_control(bytes);
  if (!control.is_ok()) return fail(control.status().code(), control.status().message());
  if (peer_fd_ < 0) {
    peer_fd_ = fd;
    mailbox_->connected();
    write_control();
  }
  on_control(control.value());
}

void Session::on_control(const Control& control) {
  // WHY: CURVE does not miss a message that is taken out, and heartbeats would go on for ever.
  if (control.sent_bytes != received_bytes_) {
    return fail(Code::kCorrupt,
                fmt::format("it sent {} bytes, {} arrived", control.sent_bytes, received_bytes_));
  }
  limit_bytes_ = std::max(limit_bytes_, control.limit_bytes);
  if (control.received_bytes > handed_bytes_) {
    return fail(Code::kCorrupt, "it acknowledges more than was sent");
  }
  mailbox_->peer_received(control.received_bytes);
  if (control.wants_answer) control_due_ = true;
  if (control.received_bytes == handed_bytes_) has_asked_ = false;
  if (control.goodbye) fail(Code::kPeerLost, "it closed the link");
}

void Session::on_piece(ByteSpan piece) {
  received_bytes_ += piece.size();
  if (received_bytes_ > granted_bytes_) {
    return fail(Code::kCorrupt,
                fmt::format("it sent more than the {} bytes it was granted", granted_bytes_));
  }
  Result<std::optional<Frame>> frame = assembler_.add(piece);
  if (!frame.is_ok()) return fail(frame.status().code(), frame.status().message());
  if (frame.value().has_value()) mailbox_->deliver(std::move(*frame.value()));
}

bool Session::write_pieces() {
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    if (!outgoing_.has_value()) {
      outgoing_ = mailbox_->take();
      offset_ = 0;
      if (!outgoing_.has_value()) return false;
    }
    const size_t size = std::min<uint64_t>(kMaxPieceBytes, outgoing_->size() - offset_);
    if (handed_bytes_ + size > limit_bytes_) return false;  // a control message will raise it
    zmq::message_t message(1 + size);
    message.data<std::byte>()[0] = static_cast<std::byte>(MessageType::kPiece);
    outgoing_->copy(offset_, {message.data<std::byte>() + 1, size});
    if (!write(std::move(message))) return false;
    offset_ += size;
    handed_bytes_ += size;
    has_asked_ = false;
    if (offset_ == outgoing_->size()) outgoing_.reset();
    mailbox_->left(size);
  }
  return true;
}

bool Session::write(zmq::message_t message) {
  if (!socket_.send(message, zmq::send_flags::dontwait)) {
    is_blocked_ = true;
    return false;
  }
  spoke_at_ = Clock::now();
  return true;
}

zmq::message_t Session::control(bool wants_answer, bool goodbye) const {
  const Bytes bytes = encode_control({.wants_answer = wants_answer,
                                      .goodbye = goodbye,
                                      .received_bytes = received_bytes_,
                                      .limit_bytes = granted_bytes_,
                                      .sent_bytes = handed_bytes_});
  return zmq::message_t(bytes.data(), bytes.size());
}

void Session::write_control() {
  const bool asks = mailbox_->wants_flush();
  const uint64_t limit = mailbox_->take_consumed() + mailbox_->options().max_queued_bytes +
                         mailbox_->max_frame_bytes();
  granted_bytes_ = std::max(granted_bytes_, limit);
  control_due_ = !write(control(asks, /*goodbye=*/false));
  if (!control_due_) has_asked_ = asks;
}

// WHY it waits for the peer to hang up: libzmq drops what it has not yet written when a socket that
// is bound is given up, whatever ZMQ_LINGER says (zmq_unbind ends the listener's connections
// first).
void Session::leave() {
  if (peer_fd_ < 0) return shut();
  if (!leaves_at_) {
    (void)write(control(/*wants_answer=*/false, /*goodbye=*/true));
    leaves_at_ = in_seconds(kGoodbyeSeconds);
  } else if (Clock::now() >= *leaves_at_) {
    shut();
  }
}

void Session::fail(Code code, const std::string& why) {
  mailbox_->fail({code, fmt::format("{} at {}: {}", mailbox_->options().peer, endpoint_, why)});
  shut();
}

void Session::shut() {
  is_open_ = false;
  sockets_.close(is_binder_ ? endpoint_ : "");
}

}  // namespace mapl::link
