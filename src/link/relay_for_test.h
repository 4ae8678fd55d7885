// For tests: a middle of a tcp connection on loopback that can alter what passes.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "link/loopback_for_test.h"

namespace mapl::link {

// Of one connection to `target`.
class Relay {
 public:
  explicit Relay(const std::string& target) : target_(port_of(target)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_, name, size), 0);
    EXPECT_EQ(::listen(listener_, 4), 0);
    EXPECT_EQ(::getsockname(listener_, name, &size), 0);
    endpoint_ = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~Relay() {
    thread_.request_stop();
    thread_.join();
    ::close(listener_);
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  // One bit of what the target says next.
  void alter_next() { alters_ = true; }

 private:
  void run(const std::stop_token& stop) {
    pollfd door{listener_, POLLIN, 0};
    while (::poll(&door, 1, 10) == 0) {
      if (stop.stop_requested()) return;
    }
    const std::array<int, 2> ends{::accept(listener_, nullptr, nullptr),
                                  ::socket(AF_INET, SOCK_STREAM, 0)};
    const sockaddr_in address = loopback(target_);
    EXPECT_EQ(::connect(ends[1], reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    bool lives = true;
    while (lives && !stop.stop_requested()) {
      std::array<pollfd, 2> polled{pollfd{ends[0], POLLIN, 0}, pollfd{ends[1], POLLIN, 0}};
      ::poll(polled.data(), 2, 10);
      for (size_t from : {0, 1}) {
        if (polled[from].revents != 0) lives = lives && pass(ends[from], ends[1 - from], from == 1);
      }
    }
    for (const int end : ends) ::close(end);
  }

  bool pass(int source, int sink, bool is_answer) {
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(source, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    if (is_answer && alters_.exchange(false)) buffer[static_cast<size_t>(got - 1)] ^= 1;
    return ::send(sink, buffer.data(), static_cast<size_t>(got), MSG_NOSIGNAL) == got;
  }

  const int target_;
  int listener_ = -1;
  std::string endpoint_;
  std::atomic<bool> alters_ = false;
  std::jthread thread_;
};

}  // namespace mapl::link
