#include "link/zmq.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <zmq.hpp>

#include "link/chunks.h"
#include "link/ipc_endpoint.h"
#include "link/loopback_for_test.h"
#include "link/relay_for_test.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;
constexpr const char* kAnyPort = "tcp://127.0.0.1:*";

ZmqOptions binder(const std::string& endpoint = kAnyPort) {
  return {.link = {.peer = "stage 1", .max_payload_bytes = 1 << 20},
          .endpoint = endpoint,
          .bind = true};
}

ZmqOptions connecter(const std::string& endpoint) {
  return {.link = {.peer = "stage 0", .max_payload_bytes = 1 << 20}, .endpoint = endpoint};
}

std::string user_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

Frame small_frame() {
  return {.header = {.kind = Kind::kVote, .step = 4}, .payload = Bytes(100, std::byte{7})};
}

// Often: libzmq may or may not have written what it holds when the socket goes.
TEST(ZmqLink, WhoHasConnectedIsKnownToHaveBeenThere) {
  for (int i = 0; i < 600; ++i) {
    ZmqContext context;
    auto link = context.start(binder());
    Status seen(Code::kTimeout, "not yet");
    std::jthread peer([&seen, endpoint = link->bound_endpoint()] {
      ZmqContext other;
      seen = other.start(connecter(endpoint))->wait_connected(in_seconds(5));
    });
    ASSERT_TRUE(link->wait_connected(in_seconds(kPatience)).is_ok());
    link.reset();
    peer.join();
    ASSERT_TRUE(seen.is_ok()) << seen.to_string();
  }
}

TEST(ZmqLink, StrangersBytesOnTcpDoNotDisturb) {
  ZmqContext context;
  auto link = context.start(binder());
  const std::string endpoint = link->bound_endpoint();
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = loopback(port_of(endpoint));
  ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const std::string garbage(200, '\xff');
  ASSERT_EQ(::write(fd, garbage.data(), garbage.size()), 200);
  auto peer = context.open(connecter(endpoint));
  ASSERT_TRUE(peer.is_ok()) << peer.status().to_string();
  ASSERT_TRUE(peer.value()->send(small_frame(), in_seconds(kPatience)).is_ok());
  EXPECT_TRUE(link->recv(in_seconds(kPatience)).is_ok());
  ::close(fd);
}

// A stage that lost its neighbour makes the same link again at once.
TEST(ZmqLink, AnEndpointCanBeBoundAgainAsSoonAsItsLinkIsClosed) {
  ZmqContext context;
  const IpcEndpoint ipc;
  std::string tcp;
  { tcp = context.start(binder())->bound_endpoint(); }
  for (const std::string& endpoint : {ipc.name(), tcp}) {
    for (int round = 0; round < 20; ++round) {
      auto bound = context.start(binder(endpoint));
      auto peer = context.open(connecter(endpoint));
      ASSERT_TRUE(peer.is_ok()) << peer.status().to_string();
      ASSERT_TRUE(bound->send(small_frame(), in_seconds(kPatience)).is_ok());
      ASSERT_TRUE(peer.value()->recv(in_seconds(kPatience)).is_ok());
      // What is under way is cut off in either order.
      if (round % 2 == 0) peer.value()->close();
      (void)bound->send(small_frame(), in_seconds(kPatience));
    }
  }
}

// libzmq cannot bind names, and "everywhere" is not what somebody without keys has asked for.
TEST(ZmqLink, LocalhostIsNotReachedFromElsewhere) {
  ZmqContext context;
  ZmqOptions options;
  options.endpoint = "tcp://localhost:*";
  options.bind = true;
  const auto link = context.start(options);
  EXPECT_TRUE(link->bound_endpoint().starts_with("tcp://127.0.0.1:")) << link->bound_endpoint();
}

// 192.0.2.1 (RFC 5737) is nobody's: as the outside of a router looks from within.
TEST(ZmqLink, AnAddressOfTheRouterIsListenedForOnAllOfThisMachine) {
  ZmqContext context;
  const CurveIdentity own = generate_identity(), peer = generate_identity();
  ZmqOptions options = binder("tcp://192.0.2.1:*");
  options.own = own;
  options.peer_public_key = peer.public_key;
  const auto link = context.start(options);
  const std::string bound = link->bound_endpoint();
  ZmqOptions other = connecter("tcp://127.0.0.1" + bound.substr(bound.rfind(':')));
  other.own = peer;
  other.peer_public_key = own.public_key;
  EXPECT_TRUE(context.open(other).is_ok());
}

TEST(ZmqLink, SecondConnectionNeitherDisturbsNorInjects) {
  ZmqContext context;
  auto link = context.start(binder());
  auto first = context.open(connecter(link->bound_endpoint()));
  ASSERT_TRUE(first.is_ok()) << first.status().to_string();
  {
    zmq::context_t strangers;
    zmq::socket_t second(strangers, zmq::socket_type::pair);
    second.set(zmq::sockopt::linger, 0);
    second.connect(link->bound_endpoint());
    const Bytes goodbye = encode_control({.goodbye = true});
    second.send(zmq::buffer(goodbye.data(), goodbye.size()), zmq::send_flags::dontwait);
    ZmqOptions third = connecter(link->bound_endpoint());
    third.connect_seconds = 0.3;
    EXPECT_EQ(context.open(third).status().code(), Code::kTimeout);
  }
  ASSERT_TRUE(first.value()->send(small_frame(), in_seconds(kPatience)).is_ok());
  const auto frame = link->recv(in_seconds(kPatience));
  ASSERT_TRUE(frame.is_ok()) << frame.status().to_string();
  EXPECT_EQ(frame.value().header.kind, Kind::kVote);
  EXPECT_EQ(link->recv(in_seconds(0.05)).status().code(), Code::kTimeout);
}

TEST(ZmqLink, NobodyThereIsATimeoutThatNamesPeerAndEndpoint) {
  ZmqContext context;
  ZmqOptions options = binder();
  options.connect_seconds = 0.05;
  const Status status = context.open(options).status();
  EXPECT_EQ(status.code(), Code::kTimeout);
  EXPECT_NE(status.message().find("stage 1"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("tcp://127.0.0.1:"), std::string::npos) << status.message();
}

TEST(ZmqLink, ConnecterMayComeFirst) {
  const IpcEndpoint ipc;
  ZmqContext context;
  const std::string endpoint = ipc.name();
  auto early = context.start(connecter(endpoint));
  auto late = context.open(binder(endpoint));
  ASSERT_TRUE(late.is_ok()) << late.status().to_string();
  EXPECT_TRUE(early->wait_connected(in_seconds(kPatience)).is_ok());
  EXPECT_NE(user_error([&] { (void)context.open(binder(endpoint)); }).find("in use"),
            std::string::npos);
}

TEST(ZmqLink, PortInUseIsAUserErrorThatNamesIt) {
  ZmqContext context;
  auto link = context.start(binder());
  const std::string what = user_error([&] { (void)context.start(binder(link->bound_endpoint())); });
  EXPECT_NE(what.find(link->bound_endpoint()), std::string::npos) << what;
  EXPECT_NE(what.find("in use"), std::string::npos) << what;
}

TEST(ZmqLink, TcpBeyondLoopbackNeedsKeys) {
  ZmqContext context;
  const std::string what = user_error([&] { (void)context.start(binder("tcp://0.0.0.0:*")); });
  EXPECT_NE(what.find("mapl keygen"), std::string::npos) << what;
}

// ---- keys
// -------------------------------------------------------------------------------------------

struct Keys {
  CurveIdentity binder = generate_identity();
  CurveIdentity connecter = generate_identity();
  CurveIdentity stranger = generate_identity();

  ZmqOptions bind_as(const CurveIdentity& own) const {
    ZmqOptions options = mapl::link::binder();
    options.own = own;
    options.peer_public_key = connecter.public_key;
    return options;
  }
  ZmqOptions connect_as(const CurveIdentity& own, const std::string& endpoint) const {
    ZmqOptions options = mapl::link::connecter(endpoint);
    options.own = own;
    options.peer_public_key = binder.public_key;
    return options;
  }
};

TEST(ZmqKeys, ConnecterWithAnUnknownKeyIsRefusedAtOnceAndTheRightOneStillComesIn) {
  const Keys keys;
  ZmqContext context;
  auto link = context.start(keys.bind_as(keys.binder));
  ZmqOptions wrong = keys.connect_as(keys.stranger, link->bound_endpoint());
  wrong.connect_seconds = kPatience;
  EXPECT_EQ(context.open(wrong).status().code(), Code::kRefused);
  const Status meanwhile = link->wait_connected(in_seconds(0));
  EXPECT_EQ(meanwhile.code(), Code::kRefused);
  EXPECT_NE(meanwhile.message().find(keys.stranger.public_key), std::string::npos);

  ZmqOptions right = wrong;
  right.own = keys.connecter;
  auto peer = context.open(right);
  ASSERT_TRUE(peer.is_ok()) << peer.status().to_string();
  EXPECT_TRUE(link->wait_connected(in_seconds(kPatience)).is_ok());
}

TEST(ZmqKeys, BinderWithAnotherKeyThanThePinnedOneIsRefused) {
  const Keys keys;
  ZmqContext context;
  auto link = context.start(keys.bind_as(keys.stranger));
  ZmqOptions connect = keys.connect_as(keys.connecter, link->bound_endpoint());
  connect.connect_seconds = 1;  // it is hung up on, and tries on until then
  const Status status = context.open(connect).status();
  EXPECT_EQ(status.code(), Code::kRefused);
  EXPECT_NE(status.message().find("key"), std::string::npos) << status.message();
}

TEST(ZmqKeys, KeyOnOneEndOnlyIsRefused) {
  const Keys keys;
  for (bool binder_has_key : {true, false}) {
    ZmqContext context;
    auto link = context.start(binder_has_key ? keys.bind_as(keys.binder) : binder());
    ZmqOptions connect = binder_has_key ? connecter(link->bound_endpoint())
                                        : keys.connect_as(keys.connecter, link->bound_endpoint());
    connect.connect_seconds = kPatience;
    const Status status = context.open(connect).status();
    EXPECT_EQ(status.code(), Code::kRefused) << status.to_string();
    EXPECT_FALSE(link->wait_connected(in_seconds(0)).is_ok());
  }
}

// A refusal ends a run for good, a broken link does not: nobody on the way may turn one into the
// other.
TEST(ZmqKeys, AnAlteredMessageIsABrokenLinkAndNotAWrongKey) {
  const Keys keys;
  ZmqContext context;
  auto link = context.start(keys.bind_as(keys.binder));
  Relay relay(link->bound_endpoint());
  auto peer = context.open(keys.connect_as(keys.connecter, relay.endpoint()));
  ASSERT_TRUE(peer.is_ok()) << peer.status().to_string();
  ASSERT_TRUE(link->wait_connected(in_seconds(kPatience)).is_ok());
  relay.alter_next();
  ASSERT_TRUE(link->send(small_frame(), in_seconds(kPatience)).is_ok());
  const Status status = peer.value()->recv(in_seconds(kPatience)).status();
  EXPECT_EQ(status.code(), Code::kCorrupt) << status.to_string();
  EXPECT_EQ(link->recv(in_seconds(kPatience)).status().code(), Code::kPeerLost);
}

// As many connections as a usual limit has descriptors would leave none for the peer.
TEST(ZmqContext, RaisesTheLimitOfDescriptors) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = std::min<rlim_t>(before.rlim_max - 1, 256);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  const ZmqContext context;
  rlimit after{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &after), 0);
  EXPECT_EQ(after.rlim_cur, std::min<rlim_t>(before.rlim_max, 65536));
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(ZmqKeys, HalfAPairIsAUserError) {
  const Keys keys;
  ZmqContext context;
  ZmqOptions options = binder();
  options.own = keys.binder;
  EXPECT_NE(user_error([&] { (void)context.start(options); }), "");
  options.peer_public_key = "too short";
  EXPECT_NE(user_error([&] { (void)context.start(options); }), "");
  options.peer_public_key = keys.connecter.public_key;
  options.own->public_key = keys.stranger.public_key;
  EXPECT_NE(user_error([&] { (void)context.start(options); }), "");
}

// ---- processes that die
// ---------------------------------------------------------------------------

// A child that connects to the endpoint it is told, sends one frame and then waits for its end.
class Child {
 public:
  // Before this process has threads.
  Child() {
    EXPECT_EQ(::pipe(pipe_.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) live();
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  void connect_to(const std::string& endpoint) const {
    EXPECT_EQ(::write(pipe_[1], endpoint.c_str(), endpoint.size() + 1),
              static_cast<ssize_t>(endpoint.size() + 1));
  }
  void signal(int number) const { EXPECT_EQ(::kill(pid_, number), 0); }

 private:
  [[noreturn]] void live() {
    std::string endpoint;
    for (char c = 0; ::read(pipe_[0], &c, 1) == 1 && c != 0;) endpoint += c;
    ZmqContext context;
    auto link = context.open(connecter(endpoint));
    if (!link.is_ok()) ::_exit(1);
    if (!link.value()->send(small_frame(), in_seconds(kPatience)).is_ok()) ::_exit(2);
    while (true) ::pause();
  }

  std::array<int, 2> pipe_{};
  pid_t pid_ = -1;
};

Status last_word_after(int signal, const std::string& endpoint) {
  const Child child;
  ZmqContext context;
  auto link = context.start(binder(endpoint));
  child.connect_to(link->bound_endpoint());
  const auto first = link->recv(in_seconds(kPatience));
  EXPECT_TRUE(first.is_ok()) << first.status().to_string();
  child.signal(signal);
  return link->recv(in_seconds(kPatience)).status();
}

TEST(ZmqLink, KilledPeerIsLost) {
  const IpcEndpoint ipc;
  for (const std::string& endpoint : {std::string(kAnyPort), ipc.name()}) {
    const Status status = last_word_after(SIGKILL, endpoint);
    EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
    EXPECT_NE(status.message().find("broke"), std::string::npos) << status.message();
  }
}

TEST(ZmqLink, StoppedPeerIsLostForItsSilence) {
  const Status status = last_word_after(SIGSTOP, kAnyPort);
  EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
  EXPECT_NE(status.message().find("silent"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace mapl::link
