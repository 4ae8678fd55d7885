#include "chaos/stranger.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <zmq.hpp>

#include "link/loopback_for_test.h"

namespace mapl::chaos {
namespace {

constexpr double kPatience = 0.5;      // for an answer before the next part
constexpr double kCallSeconds = 8;     // for a call to come to an end
constexpr double kHangUpSeconds = 6;   // a stage has hung up by then
constexpr size_t kMostKept = 1 << 16;  // of an answer

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_in address = link::loopback(port);
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (fd < 0) throw std::runtime_error("no sockets left");
  (void)connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return fd;
}

class RawStranger : public Stranger {
 public:
  RawStranger(int port, Script script)
      : script_(std::move(script)),
        fd_(connect_to(port)),
        leave_at_(in_seconds(script_.leave_seconds)) {}
  ~RawStranger() override { close(fd_); }
  int fd() const override { return fd_; }

  Deadline due() const override {
    return part_ < script_.parts.size() ? std::min(next_at_, leave_at_) : leave_at_;
  }

  Outcome turn() override {
    const bool is_over = !read_all();
    if (is_admission(answer_)) return Outcome::kAdmitted;
    if (is_over) return errno == ECONNREFUSED ? Outcome::kNobody : Outcome::kTurnedAway;
    if (Clock::now() >= leave_at_) {
      return script_.leave_seconds < kHangUpSeconds ? Outcome::kLeft : Outcome::kStillOpen;
    }
    write_some();
    return Outcome::kUnderWay;
  }

 private:
  bool read_all() {
    char buffer[4096];
    while (true) {
      const ssize_t got = recv(fd_, buffer, sizeof(buffer), 0);
      if (got > 0 && answer_.size() < kMostKept) answer_.append(buffer, static_cast<size_t>(got));
      if (got == 0) errno = 0;
      if (got == 0) return false;
      if (got < 0) return errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
    }
  }

  void write_some() {
    while (part_ < script_.parts.size()) {
      const Part& part = script_.parts[part_];
      const bool must_wait =
          offset_ == 0 ? answer_.size() < part.after_bytes : script_.byte_seconds > 0;
      if (must_wait && Clock::now() < next_at_) return;
      const size_t left = part.bytes.size() - offset_;
      const size_t size = script_.byte_seconds > 0 ? std::min<size_t>(left, 1) : left;
      const ssize_t put = send(fd_, part.bytes.data() + offset_, size, MSG_NOSIGNAL);
      if (put < 0) {  // not connected yet, or no room
        next_at_ = Clock::now();
        return;
      }
      offset_ += static_cast<size_t>(put);
      next_at_ = in_seconds(script_.byte_seconds > 0 ? script_.byte_seconds : kPatience);
      if (offset_ == part.bytes.size()) {
        ++part_;
        offset_ = 0;
      }
      if (script_.byte_seconds > 0) return;
    }
  }

  const Script script_;
  const int fd_;
  const Clock::time_point leave_at_;
  Clock::time_point next_at_ = Clock::now();
  std::string answer_;
  size_t part_ = 0;
  size_t offset_ = 0;  // within the part
};

// ---- through libzmq ----------------------------------------------------------------------------

class CallingStranger : public Stranger {
 public:
  CallingStranger(zmq::context_t& context, int number, int port, const Caller& caller)
      : socket_(context, zmq::socket_type::pair),
        monitor_(context, zmq::socket_type::pair),
        deadline_(in_seconds(kCallSeconds)) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::reconnect_ivl, -1);
    socket_.set(zmq::sockopt::curve_publickey, caller.public_key);
    socket_.set(zmq::sockopt::curve_secretkey, caller.secret_key);
    socket_.set(zmq::sockopt::curve_serverkey, caller.server_key);
    const std::string address = fmt::format("inproc://stranger-{}", number);
    zmq_socket_monitor(socket_.handle(), address.c_str(), ZMQ_EVENT_ALL);
    monitor_.set(zmq::sockopt::linger, 0);
    monitor_.connect(address);
    socket_.connect(fmt::format("tcp://127.0.0.1:{}", port));
  }
  ~CallingStranger() override { zmq_socket_monitor(socket_.handle(), nullptr, 0); }

  Deadline due() const override { return Deadline::min(); }  // always

  Outcome turn() override {
    zmq::message_t event, where;
    while (monitor_.recv(event, zmq::recv_flags::dontwait)) {
      if (event.more()) (void)monitor_.recv(where);
      uint16_t kind = 0;
      memcpy(&kind, event.data(), sizeof(kind));
      is_connected_ = is_connected_ || kind == ZMQ_EVENT_CONNECTED;
      if (kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return Outcome::kAdmitted;
      if (kind == ZMQ_EVENT_DISCONNECTED || kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
          kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
          kind == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
        return Outcome::kTurnedAway;
      }
    }
    if (Clock::now() < deadline_) return Outcome::kUnderWay;
    return is_connected_ ? Outcome::kStillOpen : Outcome::kNobody;
  }

 private:
  zmq::socket_t socket_;
  zmq::socket_t monitor_;
  const Deadline deadline_;
  bool is_connected_ = false;
};

}  // namespace

std::unique_ptr<Stranger> raw_stranger(int port, Script script) {
  return std::make_unique<RawStranger>(port, std::move(script));
}

struct Telephone::Context {
  zmq::context_t zmq;
  int num_calls = 0;
};
Telephone::Telephone() : context_(std::make_unique<Context>()) {}
Telephone::~Telephone() = default;
std::unique_ptr<Stranger> Telephone::call(int port, const Caller& caller) {
  return std::make_unique<CallingStranger>(context_->zmq, context_->num_calls++, port, caller);
}

}  // namespace mapl::chaos
