#include "link/endpoint.h"

#include <gtest/gtest.h>

#include <zmq.hpp>

#include "base/status.h"
#include "link/ipc_endpoint.h"

namespace mapl::link {
namespace {

TEST(Endpoint, LoopbackIsKnown) {
  for (const char* near : {"tcp://127.0.0.1:5", "tcp://127.8.9.1:*", "tcp://localhost:5",
                           "tcp://[::1]:5", "ipc:///tmp/x"}) {
    EXPECT_FALSE(is_beyond_loopback(near)) << near;
    EXPECT_NO_THROW(check_endpoint(near, false)) << near;
  }
  for (const char* far : {"tcp://*:5", "tcp://0.0.0.0:5", "tcp://10.0.0.2:5", "tcp://[::]:5",
                          "tcp://127.example.org:5", "tcp://eth0:5", "tcp://128.0.0.1:5"}) {
    EXPECT_TRUE(is_beyond_loopback(far)) << far;
    EXPECT_THROW(check_endpoint(far, false), UserError) << far;
    EXPECT_NO_THROW(check_endpoint(far, true)) << far;
  }
}

TEST(Endpoint, WhatIsNeitherIsRefused) {
  for (const char* bad : {"", "tcp://", "tcp://host", "tcp://host:", "tcp://:5", "ipc://",
                          "udp://1.2.3.4:5", "10.0.0.2:5555", "inproc://x"}) {
    EXPECT_THROW(check_endpoint(bad, true), UserError) << bad;
  }
}

TEST(Endpoint, IpcPathInUseIsSeen) {
  const IpcEndpoint ipc;
  zmq::context_t context;
  zmq::socket_t socket(context, zmq::socket_type::pair);
  const std::string endpoint = ipc.name();
  EXPECT_FALSE(is_ipc_in_use(endpoint));
  socket.bind(endpoint);
  EXPECT_TRUE(is_ipc_in_use(endpoint));
  EXPECT_FALSE(is_ipc_in_use(endpoint + "-another"));
  EXPECT_FALSE(is_ipc_in_use("tcp://127.0.0.1:1"));
}

}  // namespace
}  // namespace mapl::link
