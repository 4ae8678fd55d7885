// A TCP connection with a middle that can fail: what stands between two stages in the chaos suite.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

namespace mapl::chaos {

class Proxy {
 public:
  // Forwards connections to 127.0.0.1:listen_port on to 127.0.0.1:target_port.
  Proxy(int listen_port, int target_port);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // All connections are reset, at once; new ones are welcome.
  void reset();
  // Connections break, and none is let through for so long.
  void cut(double seconds);
  // For so long nothing gets through, and nobody is told: in one direction (0: towards the target,
  // 1: from it), or both.
  void freeze(double seconds, bool forth, bool back);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Pair {
    std::array<int, 2> fds{-1, -1};         // who connected, the target
    std::array<std::vector<char>, 2> held;  // read from fds[i], not yet written to the other
  };
  void run(std::stop_token stop);
  void accept_one();
  static bool pump(Pair& pair, int from);
  static void close_pair(Pair& pair, bool with_reset);

  int listen_fd_ = -1;
  int target_port_;
  std::mutex mutex_;  // guards those below
  std::vector<Pair> pairs_;
  Time closed_until_{};
  std::array<Time, 2> frozen_until_{};
  std::jthread thread_;
};

// A port of 127.0.0.1 that was free a moment ago.
int free_port();

}  // namespace mapl::chaos
