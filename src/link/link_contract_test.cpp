// What every Link must do. A new link joins with one line at the end.
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <thread>

#include "base/rng.h"
#include "link/c10d_for_test.h"
#include "link/hello.h"
#include "link/inproc.h"
#include "link/ipc_endpoint.h"
#include "link/shaped.h"
#include "link/zmq.h"

namespace mapl::link {
namespace {

// Far away: a test that needs it has failed.
constexpr double kPatience = 300.0;

struct Ends {
  std::unique_ptr<IpcEndpoint> ipc;
  std::unique_ptr<ZmqContext> contexts[2];  // one per end, as in two processes
  std::unique_ptr<Link> a;
  std::unique_ptr<Link> b;
};

using MakeEnds = std::function<Ends(const LinkOptions&, const LinkOptions&)>;

struct LinkKind {
  const char* name;
  MakeEnds make;
  bool is_built = true;  // an optional part may not be
};

void PrintTo(const LinkKind& kind, std::ostream* out) { *out << kind.name; }

Ends make_zmq(const std::string& endpoint, bool with_keys, const LinkOptions& a,
              const LinkOptions& b) {
  Ends ends;
  ZmqOptions binder{.link = a, .endpoint = endpoint, .bind = true};
  ZmqOptions connecter{.link = b};
  if (with_keys) {
    binder.own = generate_identity();
    connecter.own = generate_identity();
    binder.peer_public_key = connecter.own->public_key;
    connecter.peer_public_key = binder.own->public_key;
  }
  for (auto& context : ends.contexts) context = std::make_unique<ZmqContext>();
  auto bound = ends.contexts[0]->start(binder);
  connecter.endpoint = bound->bound_endpoint();
  auto connected = ends.contexts[1]->start(connecter);
  for (ZmqLink* link : {bound.get(), connected.get()}) {
    const Status status = link->wait_connected(in_seconds(kPatience));
    EXPECT_TRUE(status.is_ok()) << status.to_string();
  }
  ends.a = std::move(bound);
  ends.b = std::move(connected);
  return ends;
}

Ends make_ipc(const LinkOptions& a, const LinkOptions& b) {
  auto ipc = std::make_unique<IpcEndpoint>();
  Ends ends = make_zmq(ipc->name(), false, a, b);
  ends.ipc = std::move(ipc);
  return ends;
}

Ends make_inproc(const LinkOptions& a, const LinkOptions& b) {
  Ends ends;
  std::tie(ends.a, ends.b) = make_inproc_pair(a, b);
  return ends;
}

Ends make_c10d(const LinkOptions& a, const LinkOptions& b) {
  Ends ends;
  std::tie(ends.a, ends.b) = make_c10d_pair(a, b);
  return ends;
}

Ends make_shaped_inproc(Meter meter, const LinkOptions& a, const LinkOptions& b) {
  Ends ends = make_inproc(a, b);
  const auto shape = [meter](std::unique_ptr<Link>& link, const LinkOptions& options) {
    link = make_shaped(std::move(link),
                       {.bandwidth_mbps = 20000.0,
                        .latency_ms = 0.01,
                        .meter = meter,
                        .max_queued_bytes = options.max_queued_bytes},
                       std::make_shared<SerialWire>());
  };
  shape(ends.a, a);
  shape(ends.b, b);
  return ends;
}

Frame make_frame(uint64_t step, size_t payload_bytes, Kind kind = Kind::kActivation) {
  Frame frame{.header = {.kind = kind,
                         .packing = 3,
                         .boundary = 2,
                         .step = step,
                         .micro_batch = static_cast<uint32_t>(step % 7)}};
  frame.payload.resize(payload_bytes);
  for (size_t i = 0; i < payload_bytes; i += 16) {
    const auto words = philox(step, 0, i);
    std::memcpy(frame.payload.data() + i, words.data(), std::min<size_t>(16, payload_bytes - i));
  }
  return frame;
}

class LinkContract : public testing::TestWithParam<LinkKind> {
 protected:
  void SetUp() override {
    if (!GetParam().is_built) GTEST_SKIP() << "this LibTorch has none";
  }

  // No test here is about silence, and a busy machine may stop a thread for seconds.
  void connect(LinkOptions both) {
    both.silence_seconds = kPatience;
    ends_ = GetParam().make(both, both);
  }

  void expect_sent(Link& link, Frame frame) {
    const Status status = link.send(std::move(frame), in_seconds(kPatience));
    ASSERT_TRUE(status.is_ok()) << status.to_string();
  }

  void expect_received(Link& link, const Frame& expected) {
    Result<Frame> frame = link.recv(in_seconds(kPatience));
    ASSERT_TRUE(frame.is_ok()) << frame.status().to_string();
    const Header& header = frame.value().header;
    EXPECT_EQ(header.kind, expected.header.kind);
    EXPECT_EQ(header.packing, expected.header.packing);
    EXPECT_EQ(header.boundary, expected.header.boundary);
    EXPECT_EQ(header.step, expected.header.step);
    EXPECT_EQ(header.micro_batch, expected.header.micro_batch);
    EXPECT_EQ(header.payload_bytes, expected.payload.size());
    EXPECT_TRUE(frame.value().payload == expected.payload) << "step " << header.step;
  }

  // Sends until the link takes no more.
  uint64_t fill(Link& link, size_t payload_bytes) {
    for (uint64_t count = 0;; ++count) {
      const Status status = link.send(make_frame(count, payload_bytes), in_seconds(0.2));
      if (status.is_ok()) continue;
      EXPECT_EQ(status.code(), Code::kTimeout) << status.to_string();
      return count;
    }
  }

  Ends ends_;
};

TEST_P(LinkContract, OrderIsKeptBothWays) {
  connect({.max_payload_bytes = 10000});
  for (uint64_t i = 0; i < 100; ++i) {
    expect_sent(*ends_.a, make_frame(i, i * 37));
    expect_sent(*ends_.b, make_frame(1000 + i, i * 11));
  }
  for (uint64_t i = 0; i < 100; ++i) {
    expect_received(*ends_.b, make_frame(i, i * 37));
    expect_received(*ends_.a, make_frame(1000 + i, i * 11));
  }
}

TEST_P(LinkContract, LargeFrameArrivesWhole) {
  constexpr size_t kBytes = 64 << 20;
  connect({.max_payload_bytes = kBytes});
  expect_sent(*ends_.a, make_frame(5, kBytes));
  expect_received(*ends_.b, make_frame(5, kBytes));
}

TEST_P(LinkContract, ManySmallFramesArrive) {
  constexpr uint64_t kCount = 5000;
  connect({.max_payload_bytes = 64, .max_queued_bytes = 4096});
  std::jthread sender([&] {
    for (uint64_t i = 0; i < kCount; ++i) expect_sent(*ends_.a, make_frame(i, i % 64));
  });
  for (uint64_t i = 0; i < kCount; ++i) expect_received(*ends_.b, make_frame(i, i % 64));
}

TEST_P(LinkContract, BothWaysAtOnceDoNotBlockEachOther) {
  constexpr uint64_t kCount = 64;
  constexpr size_t kBytes = 200000;
  connect({.max_payload_bytes = kBytes, .max_queued_bytes = 2 * kBytes});
  const auto exchange = [&](Link& link) {
    std::jthread sender([&] {
      for (uint64_t i = 0; i < kCount; ++i) expect_sent(link, make_frame(i, kBytes));
    });
    for (uint64_t i = 0; i < kCount; ++i) expect_received(link, make_frame(i, kBytes));
  };
  std::jthread other([&] { exchange(*ends_.b); });
  exchange(*ends_.a);
}

TEST_P(LinkContract, WhatWasSentArrivesBeforeThePeerIsLost) {
  connect({.max_payload_bytes = 100000});
  for (uint64_t i = 0; i < 3; ++i) expect_sent(*ends_.a, make_frame(i, 100000));
  ASSERT_TRUE(ends_.a->flush(in_seconds(kPatience)).is_ok());
  ends_.a.reset();
  for (uint64_t i = 0; i < 3; ++i) expect_received(*ends_.b, make_frame(i, 100000));
  EXPECT_EQ(ends_.b->recv(in_seconds(kPatience)).status().code(), Code::kPeerLost);
  EXPECT_EQ(ends_.b->recv(in_seconds(kPatience)).status().code(), Code::kPeerLost);
  EXPECT_EQ(ends_.b->health().code(), Code::kPeerLost);
  Status status;
  while (status.is_ok()) status = ends_.b->send(make_frame(0, 8), in_seconds(kPatience));
  EXPECT_EQ(status.code(), Code::kPeerLost);
}

TEST_P(LinkContract, AbortSentJustBeforeTheEndArrives) {
  connect({.max_payload_bytes = 1 << 20});
  Frame before = make_frame(0, 1 << 20);
  before.header.kind = Kind::kVote;  // of tensors nothing is promised
  expect_sent(*ends_.a, before);
  Frame abort{.header = {.kind = Kind::kAbort, .step = 1}};
  for (char c : std::string("loss is nan\x1b")) abort.payload.push_back(static_cast<std::byte>(c));
  expect_sent(*ends_.a, abort);
  ASSERT_TRUE(ends_.a->flush(in_seconds(kPatience)).is_ok());
  ends_.a.reset();
  ends_.contexts[0].reset();
  EXPECT_EQ(ends_.b->health().code(), Code::kAborted) << "before its turn";
  EXPECT_EQ(ends_.b->health().message(), "loss is nan?");
  expect_received(*ends_.b, before);
  const auto last = recv_expected(*ends_.b, {.kind = Kind::kVote}, in_seconds(kPatience));
  EXPECT_EQ(last.status().code(), Code::kAborted);
}

TEST_P(LinkContract, NothingInTimeIsATimeout) {
  connect({});
  EXPECT_EQ(ends_.a->recv(in_seconds(0.01)).status().code(), Code::kTimeout);
  EXPECT_TRUE(ends_.a->health().is_ok());
  expect_sent(*ends_.b, make_frame(1, 10));
  expect_received(*ends_.a, make_frame(1, 10));
}

TEST_P(LinkContract, CloseWakesABlockedReceiver) {
  connect({});
  std::optional<Code> code;
  std::jthread receiver([&] { code = ends_.a->recv(in_seconds(kPatience)).status().code(); });
  ends_.a->close();
  ends_.a->close();
  receiver.join();
  EXPECT_EQ(code, Code::kClosed);
  EXPECT_EQ(ends_.a->send(make_frame(0, 1), in_seconds(kPatience)).code(), Code::kClosed);
  EXPECT_EQ(ends_.a->health().code(), Code::kClosed);
}

TEST_P(LinkContract, CloseWakesABlockedSender) {
  connect({.max_payload_bytes = 100000, .max_queued_bytes = 100000});
  fill(*ends_.a, 100000);
  std::optional<Code> code;
  std::jthread sender(
      [&] { code = ends_.a->send(make_frame(0, 1), in_seconds(kPatience)).code(); });
  ends_.a->close();
  sender.join();
  EXPECT_EQ(code, Code::kClosed);
}

TEST_P(LinkContract, BackPressureHoldsAndLetsGo) {
  constexpr uint64_t kBytes = 100000;
  const LinkOptions options{.max_payload_bytes = kBytes, .max_queued_bytes = 4 * kBytes};
  connect(options);
  const uint64_t count = fill(*ends_.a, kBytes);
  // At most: the queue and one frame over it, at each end, and one more in a thread's hand.
  EXPECT_LE(count, 2 * (options.max_queued_bytes / kBytes + 1) + 1);
  EXPECT_GE(count, options.max_queued_bytes / kBytes);
  for (uint64_t i = 0; i < count; ++i) expect_received(*ends_.b, make_frame(i, kBytes));
  expect_sent(*ends_.a, make_frame(count, kBytes));
  expect_received(*ends_.b, make_frame(count, kBytes));
}

TEST_P(LinkContract, OversizePayloadIsRefused) {
  ends_ = GetParam().make({.max_payload_bytes = 100000}, {.max_payload_bytes = 5000});
  expect_sent(*ends_.a, make_frame(0, 5000));
  expect_sent(*ends_.a, make_frame(1, 5001));
  expect_received(*ends_.b, make_frame(0, 5000));
  EXPECT_EQ(ends_.b->recv(in_seconds(kPatience)).status().code(), Code::kCorrupt);
}

TEST_P(LinkContract, BothEndsGreet) {
  connect({});
  const auto hello = [](uint32_t stage) {
    return Hello{.mapl_version = "0.1.0", .recipe_hash = 7, .stage = stage, .num_stages = 2};
  };
  Status status;
  std::jthread other([&] { status = greet(*ends_.b, hello(1), hello(0), in_seconds(kPatience)); });
  EXPECT_TRUE(greet(*ends_.a, hello(0), hello(1), in_seconds(kPatience)).is_ok());
  other.join();
  EXPECT_TRUE(status.is_ok()) << status.to_string();
}

INSTANTIATE_TEST_SUITE_P(
    Links, LinkContract,
    testing::Values(
        LinkKind{"Inproc", make_inproc}, LinkKind{"ZmqIpc", make_ipc},
        LinkKind{"C10dGloo", make_c10d, has_c10d()},
        LinkKind{"ZmqTcp",
                 [](auto& a, auto& b) { return make_zmq("tcp://127.0.0.1:*", false, a, b); }},
        LinkKind{"ZmqTcpCurve",
                 [](auto& a, auto& b) { return make_zmq("tcp://127.0.0.1:*", true, a, b); }},
        LinkKind{"Pipelined",
                 [](auto& a, auto& b) { return make_shaped_inproc(Meter::kPipelined, a, b); }},
        LinkKind{"Serial",
                 [](auto& a, auto& b) { return make_shaped_inproc(Meter::kSerial, a, b); }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mapl::link
