#include "link/zmq.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <zmq.hpp>

#include "base/log.h"
#include "link/endpoint.h"
#include "link/mailbox.h"
#include "link/zmq_loop.h"
#include "link/zmq_session.h"

namespace mapl::link {
namespace {

constexpr double kReleaseSeconds = 2;   // for a link that was closed to let go of its endpoint
constexpr int kHandshakeMs = 5000;      // a peer that says nothing is hung up on
constexpr int kSendMessages = 16;       // 2 MiB inside libzmq, out of reach of close()
constexpr int kRecvMessages = 1024;     // more than the I/O thread ever leaves there
constexpr rlim_t kDescriptors = 65536;  // of this process, at most
constexpr int kCurveOverhead = 64;      // bytes that CURVE adds to a message, and to spare

void check_keys(const ZmqOptions& options) {
  const bool has_peer_key = !options.peer_public_key.empty();
  if (options.own.has_value() != has_peer_key) {
    throw UserError(fmt::format("the link to {} has {}: give both, or neither", options.link.peer,
                                has_peer_key ? "the peer's public key but no secret key"
                                             : "a secret key but no public key of the peer"));
  }
  if (has_peer_key && !is_key(options.peer_public_key)) {
    throw UserError(fmt::format("the public key of {}, '{}', is not 40 characters of Z85",
                                options.link.peer, options.peer_public_key));
  }
  if (options.own && public_key_of(options.own->secret_key) != options.own->public_key) {
    throw UserError("the public key given does not belong to the secret key");
  }
}

void configure(zmq::socket_t& socket, const ZmqOptions& options, const std::string& gate) {
  // WHY not always: with it, an address that was read back is spelled as IPv6.
  socket.set(zmq::sockopt::ipv6, options.endpoint.find('[') != std::string::npos);
  socket.set(zmq::sockopt::immediate, true);
  socket.set(zmq::sockopt::handshake_ivl, kHandshakeMs);
  socket.set(zmq::sockopt::sndhwm, kSendMessages);
  socket.set(zmq::sockopt::rcvhwm, kRecvMessages);
  const size_t largest = std::min<uint64_t>(
      kMaxMessageBytes,
      1 + kHeaderBytes + std::max<uint64_t>(options.link.max_payload_bytes, kMaxAbortBytes));
  socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(largest + kCurveOverhead));
  if (options.own) {
    socket.set(zmq::sockopt::curve_publickey, options.own->public_key);
    socket.set(zmq::sockopt::curve_secretkey, options.own->secret_key);
    if (options.bind) {
      socket.set(zmq::sockopt::curve_server, true);
      socket.set(zmq::sockopt::zap_domain, gate);
    } else {
      socket.set(zmq::sockopt::curve_serverkey, options.peer_public_key);
    }
  }
}

UserError cannot_meet(const ZmqOptions& options, int error) {
  return UserError(fmt::format(
      "cannot {} the link endpoint {} for {}: {}; {}", options.bind ? "bind" : "connect to",
      options.endpoint, options.link.peer, zmq_strerror(error),
      error == EADDRINUSE ? "stop the process that uses it, or choose another in the recipe"
                          : "check the endpoint in the recipe"));
}

// WHY the second try: behind a router that passes a port on, the address that others reach is not
// one of this machine. Never for a loopback address: it was not to be reached from elsewhere, and
// may have no keys.
void bind_to(zmq::socket_t& socket, const std::string& endpoint) {
  constexpr std::string_view kLocalhost = "tcp://localhost:";
  if (endpoint.starts_with(kLocalhost)) {  // libzmq resolves no names here
    return socket.bind("tcp://127.0.0.1:" + endpoint.substr(kLocalhost.size()));
  }
  try {
    socket.bind(endpoint);
  } catch (const zmq::error_t& error) {
    const bool elsewhere = error.num() == ENODEV || error.num() == EADDRNOTAVAIL;
    if (!elsewhere || !is_beyond_loopback(endpoint)) throw;
    const std::string everywhere = "tcp://*" + endpoint.substr(endpoint.rfind(':'));
    spdlog::info("{} is not an address of this machine; listening at {} for it", endpoint,
                 everywhere);
    socket.bind(everywhere);
  }
}

// The endpoint as the peer needs it.
std::string meet(zmq::socket_t& socket, const ZmqOptions& options) {
  if (options.bind && is_ipc_in_use(options.endpoint)) throw cannot_meet(options, EADDRINUSE);
  try {
    if (!options.bind) {
      socket.connect(options.endpoint);
      return options.endpoint;
    }
    bind_to(socket, options.endpoint);
    return socket.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& error) {
    throw cannot_meet(options, error.num());
  }
}

}  // namespace

ZmqLink::ZmqLink(std::shared_ptr<IoLoop> loop, std::shared_ptr<Mailbox> mailbox,
                 std::string endpoint, std::string gate)
    : loop_(std::move(loop)),
      mailbox_(std::move(mailbox)),
      endpoint_(std::move(endpoint)),
      gate_(std::move(gate)) {}

ZmqLink::~ZmqLink() { close(); }

Status ZmqLink::send(Frame&& frame, Deadline deadline) {
  return mailbox_->send(std::move(frame), deadline);
}
Result<Frame> ZmqLink::recv(Deadline deadline) { return mailbox_->recv(deadline); }
Status ZmqLink::health() { return mailbox_->health(); }
Status ZmqLink::flush(Deadline deadline) { return mailbox_->flush(deadline); }
void ZmqLink::close() noexcept {
  mailbox_->close();
  loop_->close_gate(gate_);
}
Status ZmqLink::wait_connected(Deadline deadline) {
  return mailbox_->wait_connected(deadline).in("link " + endpoint_);
}

namespace {

// WHY: the usual limit is 1024, for programs that use select(). Strangers' connections, of which
// each costs one until it is hung up on, must not keep checkpoints and the peer from theirs.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min(limit.rlim_max, kDescriptors));
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

ZmqContext::ZmqContext() : loop_(std::make_shared<IoLoop>()) { raise_descriptor_limit(); }
ZmqContext::~ZmqContext() = default;

Result<std::unique_ptr<Link>> ZmqContext::open(const ZmqOptions& options) {
  std::unique_ptr<ZmqLink> link = start(options);
  Status status = link->wait_connected(in_seconds(options.connect_seconds));
  if (!status.is_ok()) return status;
  return std::unique_ptr<Link>(std::move(link));
}

std::unique_ptr<ZmqLink> ZmqContext::start(const ZmqOptions& options) {
  check_endpoint(options.endpoint, options.own.has_value());
  check_keys(options);
  const std::string name = loop_->next_name();
  // The mailbox calls wake only from the link, which keeps the loop alive.
  auto mailbox = std::make_shared<Mailbox>(options.link, [loop = loop_.get()] { loop->wake(); });
  MonitoredSocket socket(loop_->context(), name);
  configure(socket.socket(), options, name);
  if (options.own && options.bind) {
    loop_->open_gate(name, {options.peer_public_key, mailbox});
  }
  const bool any_port = options.endpoint.ends_with(":*");
  const std::string bound = options.bind && !any_port ? options.endpoint : "";
  if (!bound.empty()) loop_->wait_released(bound, in_seconds(kReleaseSeconds));
  std::string endpoint;
  try {
    endpoint = meet(socket.socket(), options);
  } catch (const UserError&) {
    loop_->close_gate(name);
    throw;
  }
  loop_->add(std::make_unique<Session>(Session::Setup{.socket = std::move(socket),
                                                      .mailbox = mailbox,
                                                      .endpoint = endpoint,
                                                      .is_binder = options.bind,
                                                      .has_keys = options.own.has_value()}),
             bound);
  return std::make_unique<ZmqLink>(loop_, std::move(mailbox), std::move(endpoint), name);
}

}  // namespace mapl::link
