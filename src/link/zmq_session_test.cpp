// What a peer can do to a link: well-formed ZeroMQ with content that is not.
#include "link/zmq_session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>
#include <zmq.hpp>

#include "link/chunks.h"
#include "link/loopback_for_test.h"
#include "link/zmq.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;
constexpr uint64_t kPayloadBytes = 1000000;
constexpr uint64_t kQueuedBytes = 2000000;

ZmqOptions binder(double silence_seconds = LinkOptions().silence_seconds) {
  return {.link = {.peer = "stage 1",
                   .max_payload_bytes = kPayloadBytes,
                   .max_queued_bytes = kQueuedBytes,
                   .silence_seconds = silence_seconds},
          .endpoint = "tcp://127.0.0.1:*",
          .bind = true};
}

Frame small_frame() {
  return {.header = {.kind = Kind::kVote, .step = 4}, .payload = Bytes(100, std::byte{7})};
}

// Speaks ZeroMQ, but not through our code.
class RawPeer {
 public:
  explicit RawPeer(const std::string& endpoint) : socket_(context_, zmq::socket_type::pair) {
    socket_.set(zmq::sockopt::linger, static_cast<int>(kPatience * 1000));
    socket_.connect(endpoint);
  }
  void send(ByteSpan bytes, zmq::send_flags flags = zmq::send_flags::none) {
    socket_.send(zmq::buffer(bytes.data(), bytes.size()), flags);
  }
  Bytes recv() {
    zmq::message_t message;
    (void)socket_.recv(message);
    return {message.data<std::byte>(), message.data<std::byte>() + message.size()};
  }
  void say_hello() { send(encode_control({.limit_bytes = 1 << 20})); }
  // As one piece, with a byte of it changed.
  void send_frame(const Frame& frame, size_t at, uint8_t flip, size_t cut = 0) {
    Bytes piece = {static_cast<std::byte>(MessageType::kPiece)};
    const Bytes header = encode_header(frame);
    piece.insert(piece.end(), header.begin(), header.end());
    piece.insert(piece.end(), frame.payload.begin(), frame.payload.end());
    piece[1 + at] ^= std::byte{flip};
    piece.resize(piece.size() - cut);
    send(piece);
  }

 private:
  zmq::context_t context_;
  zmq::socket_t socket_;
};

// A link that a raw peer has joined.
struct Joined {
  ZmqContext context;
  std::unique_ptr<ZmqLink> link = context.start(binder());
  RawPeer peer{link->bound_endpoint()};
  Joined() {
    peer.say_hello();
    EXPECT_TRUE(link->wait_connected(in_seconds(kPatience)).is_ok());
  }
  Status recv() { return link->recv(in_seconds(kPatience)).status(); }
};

TEST(ZmqSession, RawPeerWithAGoodFrameIsUnderstood) {
  Joined joined;
  joined.peer.send_frame(small_frame(), 0, 0);
  const auto frame = joined.link->recv(in_seconds(kPatience));
  ASSERT_TRUE(frame.is_ok()) << frame.status().to_string();
  EXPECT_EQ(frame.value().payload, small_frame().payload);
}

TEST(ZmqSession, FlippedBitIsRefused) {
  for (size_t at : {size_t{0}, size_t{6}, size_t{9}, size_t{38}, size_t{44}, size_t{48},
                    kHeaderBytes + size_t{99}}) {
    Joined joined;
    joined.peer.send_frame(small_frame(), at, 0x10);
    EXPECT_EQ(joined.recv().code(), Code::kCorrupt) << "byte " << at;
    EXPECT_EQ(joined.link->send(small_frame(), in_seconds(kPatience)).code(), Code::kCorrupt);
  }
}

TEST(ZmqSession, AnotherWireVersionIsRefused) {
  Joined joined;
  joined.peer.send_frame(small_frame(), 4, 0x01);
  const Status status = joined.recv();
  EXPECT_EQ(status.code(), Code::kRefused);
  EXPECT_NE(status.message().find("wire version 3"), std::string::npos) << status.message();
}

TEST(ZmqSession, FrameCutShortByTheNextIsRefused) {
  Joined joined;
  joined.peer.send_frame(small_frame(), 0, 0, 30);
  joined.peer.send_frame(small_frame(), 0, 0);
  EXPECT_EQ(joined.recv().code(), Code::kCorrupt);
}

TEST(ZmqSession, PeerThatLeavesInsideAFrameIsLost) {
  ZmqContext context;
  auto link = context.start(binder());
  {
    RawPeer peer(link->bound_endpoint());
    peer.say_hello();
    ASSERT_TRUE(link->wait_connected(in_seconds(kPatience)).is_ok());
    peer.send_frame(small_frame(), 0, 0, 30);
  }
  EXPECT_EQ(link->recv(in_seconds(kPatience)).status().code(), Code::kPeerLost);
}

TEST(ZmqSession, OversizeAnnouncementOfAFrameIsRefused) {
  Joined joined;
  Frame frame = small_frame();
  frame.payload.resize(kPayloadBytes + 1);
  const Bytes header = encode_header(frame);
  Bytes piece = {static_cast<std::byte>(MessageType::kPiece)};
  piece.insert(piece.end(), header.begin(), header.end());
  joined.peer.send(piece);
  const Status status = joined.recv();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("1000001"), std::string::npos) << status.message();
}

TEST(ZmqSession, OversizeMessageIsRefusedByLibzmq) {
  Joined joined;
  joined.peer.send(Bytes(kMaxMessageBytes + 1000));
  EXPECT_EQ(joined.recv().code(), Code::kPeerLost);
}

TEST(ZmqSession, MoreThanWasGrantedIsRefused) {
  Joined joined;
  Frame frame = small_frame();
  frame.payload.resize(100000);
  // Nobody receives: the grant is one queue and one frame.
  constexpr uint64_t kGrant = kQueuedBytes + kHeaderBytes + kPayloadBytes;
  for (uint64_t sent = 0; sent <= kGrant; sent += kHeaderBytes + 100000) {
    joined.peer.send_frame(frame, 0, 0);
  }
  while (joined.link->health().is_ok()) std::this_thread::yield();
  EXPECT_EQ(joined.link->health().code(), Code::kCorrupt);
}

TEST(ZmqSession, GarbageInsteadOfAControlMessageIsRefused) {
  ZmqContext context;
  auto link = context.start(binder());
  RawPeer peer(link->bound_endpoint());
  peer.send(Bytes(5, std::byte{9}));
  EXPECT_EQ(link->wait_connected(in_seconds(kPatience)).code(), Code::kCorrupt);
}

// It holds the one pipe: whoever comes after it would wait for good.
TEST(ZmqSession, WhoIsAdmittedAndSaysNothingIsLost) {
  ZmqContext context;
  auto link = context.start(binder(/*silence_seconds=*/0.3));
  const RawPeer peer(link->bound_endpoint());
  const Status status = link->wait_connected(in_seconds(kPatience));
  EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
}

TEST(ZmqSession, AcknowledgingMoreThanWasSentIsRefused) {
  Joined joined;
  joined.peer.send(encode_control({.received_bytes = 1}));
  EXPECT_EQ(joined.recv().code(), Code::kCorrupt);
}

// What CURVE lets pass: a message that never came, while the next ones do.
TEST(ZmqSession, SentMoreThanArrivedIsRefused) {
  Joined joined;
  joined.peer.send_frame(small_frame(), 0, 0);
  const uint64_t arrived = kHeaderBytes + 100;
  joined.peer.send(encode_control({.sent_bytes = arrived}));
  ASSERT_TRUE(joined.recv().is_ok());
  joined.peer.send(encode_control({.sent_bytes = 2 * arrived}));
  const Status status = joined.recv();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("it sent 296 bytes, 148 arrived"), std::string::npos)
      << status.message();
}

TEST(ZmqSession, MessageOfManyPartsIsRefused) {
  Joined joined;
  joined.peer.send(encode_control({}), zmq::send_flags::sndmore);
  joined.peer.send(encode_control({}));
  EXPECT_EQ(joined.recv().code(), Code::kCorrupt);
}

TEST(ZmqSession, PeerWithoutRoomGetsNothingUntilItGrantsSome) {
  ZmqContext context;
  auto link = context.start(binder());
  RawPeer peer(link->bound_endpoint());
  peer.send(encode_control({.limit_bytes = 0}));
  ASSERT_TRUE(link->send(small_frame(), in_seconds(kPatience)).is_ok());
  EXPECT_EQ(link->flush(in_seconds(0.05)).code(), Code::kTimeout);
  EXPECT_EQ(peer.recv().size(), kControlBytes);  // the link's own grant
  peer.send(encode_control({.limit_bytes = 1000}));
  Bytes message = peer.recv();
  while (message.size() == kControlBytes) message = peer.recv();
  EXPECT_EQ(message.size(), 1 + kHeaderBytes + 100);
  peer.send(encode_control({.received_bytes = kHeaderBytes + 100, .limit_bytes = 1000}));
  EXPECT_TRUE(link->flush(in_seconds(kPatience)).is_ok());
}

// ---- connections by number
// -----------------------------------------------------------------------------------

// Speaks tcp, and ZMTP 3.0 (RFC 23) without a key as far as its first message.
class RawSocket {
 public:
  ~RawSocket() { ::close(fd_); }
  void connect(const std::string& endpoint) const {
    const sockaddr_in address = loopback(port_of(endpoint));
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  void say_hello() const {
    std::string greeting("\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL", 16);
    greeting.resize(kGreetingBytes);
    say(greeting + std::string("\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PAIR", 28));
    hear(kGreetingBytes + 1);  // and with that READY
    const Bytes control = encode_control({.limit_bytes = 1 << 20});
    say(std::string("\0\x20", 2) +
        std::string(reinterpret_cast<const char*>(control.data()), control.size()));
  }
  void hear(size_t num_bytes) const {
    std::string bytes(num_bytes, '\0');
    EXPECT_EQ(::recv(fd_, bytes.data(), num_bytes, MSG_WAITALL), static_cast<ssize_t>(num_bytes));
  }
  void hang_up() const { ::shutdown(fd_, SHUT_RDWR); }

 private:
  static constexpr size_t kGreetingBytes = 64;
  void say(const std::string& bytes) const {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  const int fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
};

// Whoever comes next is given the number of the connection that ended: the peer is gone all the
// same, and at once.
TEST(ZmqSession, AStrangerWhoComesRightAfterThePeerDoesNotHideThatItLeft) {
  zmq::context_t context;
  MonitoredSocket socket(context, "by-hand");
  socket.socket().bind(binder().endpoint);
  const auto endpoint = socket.socket().get(zmq::sockopt::last_endpoint);
  zmq_pollitem_t events{socket.monitor().handle(), 0, ZMQ_POLLIN, 0};
  const auto mailbox = std::make_shared<Mailbox>(binder().link, [] {});
  Session session({std::move(socket), mailbox, endpoint, /*is_binder=*/true});
  const RawSocket peer, stranger;
  peer.connect(endpoint);
  peer.say_hello();
  while (mailbox->wait_connected(in_seconds(0)).code() == Code::kTimeout) session.turn();
  ASSERT_TRUE(mailbox->health().is_ok()) << mailbox->health().to_string();
  while (zmq_poll(&events, 1, 0) > 0) session.turn();
  peer.hang_up();
  ASSERT_EQ(zmq_poll(&events, 1, static_cast<long>(kPatience * 1000)), 1);
  stranger.connect(endpoint);
  stranger.hear(1);
  session.turn();
  EXPECT_EQ(mailbox->health().code(), Code::kPeerLost);
}

}  // namespace
}  // namespace mapl::link
