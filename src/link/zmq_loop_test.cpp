// The keeper of the gates, asked as libzmq asks it (RFC 27). The rest is in zmq_test.cpp.
#include "link/zmq_loop.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <sstream>

#include "base/log.h"
#include "link/curve_keys.h"

namespace mapl::link {
namespace {

std::string ask(IoLoop& loop, const std::string& domain, const std::string& mechanism,
                const std::string& public_key) {
  zmq::socket_t socket(loop.context(), zmq::socket_type::req);
  socket.set(zmq::sockopt::linger, 0);
  socket.connect("inproc://zeromq.zap.01");
  std::array<uint8_t, 32> key{};
  zmq_z85_decode(key.data(), public_key.c_str());
  for (const std::string& part :
       {std::string("1.0"), std::string("7"), domain, std::string("10.0.0.2"), std::string()}) {
    socket.send(zmq::buffer(part), zmq::send_flags::sndmore);
  }
  socket.send(zmq::buffer(mechanism), zmq::send_flags::sndmore);
  socket.send(zmq::buffer(key), zmq::send_flags::none);
  std::vector<std::string> reply;
  zmq::message_t part;
  do {
    (void)socket.recv(part);
    reply.push_back(part.to_string());
  } while (part.more());
  EXPECT_EQ(reply.size(), 6u);
  EXPECT_EQ(reply[0], "1.0");
  EXPECT_EQ(reply[1], "7");
  return reply[2];
}

TEST(Gate, LetsInOneKeyPerDomain) {
  const auto right = generate_identity().public_key;
  const auto other = generate_identity().public_key;
  auto mailbox = std::make_shared<Mailbox>(LinkOptions{.peer = "stage 1"}, [] {});
  IoLoop loop;
  const std::string here = loop.next_name();
  const std::string there = loop.next_name();
  EXPECT_NE(here, there);
  EXPECT_EQ(ask(loop, here, "CURVE", right), "400") << "no gate yet";
  loop.open_gate(here, {right, mailbox});
  loop.open_gate(there, {other, mailbox});
  EXPECT_EQ(ask(loop, here, "CURVE", right), "200");
  EXPECT_EQ(ask(loop, there, "CURVE", other), "200");
  EXPECT_EQ(mailbox->wait_connected(in_seconds(0)).code(), Code::kTimeout);
  EXPECT_EQ(ask(loop, here, "CURVE", other), "400");
  EXPECT_EQ(mailbox->wait_connected(in_seconds(0)).code(), Code::kRefused);
  EXPECT_EQ(ask(loop, here, "NULL", right), "400");
  loop.close_gate(here);
  EXPECT_EQ(ask(loop, here, "CURVE", right), "400");
}

TEST(Gate, StrangersCannotFillTheLog) {
  const auto right = generate_identity().public_key;
  const auto other = generate_identity().public_key;
  auto mailbox = std::make_shared<Mailbox>(LinkOptions{.peer = "stage 1"}, [] {});
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  {
    IoLoop loop;
    const std::string here = loop.next_name();
    loop.open_gate(here, {right, mailbox});
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(ask(loop, here, "CURVE", other), "400");
  }
  spdlog::set_default_logger(before);
  const std::string text = log.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10) << text;
  EXPECT_NE(text.find("512 so far"), std::string::npos) << text;
}

TEST(IoLoop, StartsAndEndsWithoutLinks) { IoLoop loop; }

}  // namespace
}  // namespace mapl::link
