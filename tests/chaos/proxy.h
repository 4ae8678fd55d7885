// A TCP connection with a middle that can fail: what stands between two stages in the chaos suite.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
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
  // All that passes goes through `tap`, which may change it: of the connection with that number
  // (from 0), read from its end 0 (who connected) or 1. False: the connection ends when what has
  // been read is delivered. On the proxy's thread.
  using Tap = std::function<bool(int connection, int from, std::vector<char>& bytes)>;
  void listen_in(Tap tap);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Pair {
    std::array<int, 2> fds{-1, -1};         // who connected, the target
    std::array<std::vector<char>, 2> held;  // read from fds[i], not yet written to the other
    int number = 0;
    bool is_ending = false;  // nothing more is read
  };
  void run(std::stop_token stop);
  void accept_one();
  bool pump(Pair& pair, int from);
  static void close_pair(Pair& pair, bool with_reset);

  int listen_fd_ = -1;
  int target_port_;
  std::mutex mutex_;  // guards those below
  std::vector<Pair> pairs_;
  Time closed_until_{};
  std::array<Time, 2> frozen_until_{};
  Tap tap_;
  int num_connections_ = 0;
  std::jthread thread_;
};

}  // namespace mapl::chaos
