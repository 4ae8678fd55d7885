#include "chaos/proxy.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "link/loopback_for_test.h"

namespace mapl::chaos {
namespace {

constexpr int kPollMs = 5;
constexpr size_t kMostHeld = 1 << 18;

void make_ready(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

std::chrono::steady_clock::time_point in(double seconds) {
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
             std::chrono::duration<double>(seconds));
}

}  // namespace

Proxy::Proxy(int listen_port, int target_port) : target_port_(target_port) {
  listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  const sockaddr_in address = link::loopback(listen_port);
  if (bind(listen_fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listen_fd_, 64) != 0) {
    throw std::runtime_error("the proxy cannot listen");
  }
  make_ready(listen_fd_);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

Proxy::~Proxy() {
  thread_.request_stop();
  thread_.join();
  for (Pair& pair : pairs_) close_pair(pair, false);
  close(listen_fd_);
}

void Proxy::reset() {
  const std::lock_guard lock(mutex_);
  for (Pair& pair : pairs_) close_pair(pair, true);
  pairs_.clear();
}

void Proxy::cut(double seconds) {
  const std::lock_guard lock(mutex_);
  for (Pair& pair : pairs_) close_pair(pair, false);
  pairs_.clear();
  closed_until_ = in(seconds);
}

void Proxy::freeze(double seconds, bool forth, bool back) {
  const std::lock_guard lock(mutex_);
  if (forth) frozen_until_[0] = in(seconds);
  if (back) frozen_until_[1] = in(seconds);
}

void Proxy::listen_in(Tap tap) {
  const std::lock_guard lock(mutex_);
  tap_ = std::move(tap);
}

void Proxy::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::vector<pollfd> polled{{listen_fd_, POLLIN, 0}};
    {
      const std::lock_guard lock(mutex_);
      const auto now = std::chrono::steady_clock::now();
      for (const Pair& pair : pairs_) {
        for (int i : {0, 1})
          polled.push_back({now < frozen_until_[i] ? -1 : pair.fds[i], POLLIN, 0});
      }
    }
    poll(polled.data(), polled.size(), kPollMs);
    const std::lock_guard lock(mutex_);
    if (polled[0].revents != 0) accept_one();
    const auto now = std::chrono::steady_clock::now();
    for (Pair& pair : pairs_) {
      bool lives = true;
      for (int i : {0, 1}) {
        if (now < frozen_until_[i]) continue;
        lives = lives && pump(pair, i);
      }
      if (!lives) close_pair(pair, false);
    }
    std::erase_if(pairs_, [](const Pair& pair) { return pair.fds[0] < 0; });
  }
}

void Proxy::accept_one() {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  Pair pair{.fds = {fd, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, .held = {}};
  const sockaddr_in address = link::loopback(target_port_);
  const bool is_open = std::chrono::steady_clock::now() >= closed_until_;
  if (!is_open ||
      connect(pair.fds[1], reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return close_pair(pair, true);
  }
  for (const int end : pair.fds) make_ready(end);
  pair.number = num_connections_++;
  pairs_.push_back(std::move(pair));
}

// Moves what can be moved; false when the connection is over.
bool Proxy::pump(Pair& pair, int from) {
  const int source = pair.fds[from];
  const int sink = pair.fds[1 - from];
  std::vector<char>& held = pair.held[from];
  if (source < 0) return false;
  if (held.size() < kMostHeld && !pair.is_ending) {
    char buffer[1 << 16];
    const ssize_t got = read(source, buffer, sizeof(buffer));
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    std::vector<char> bytes(buffer, buffer + std::max<ssize_t>(got, 0));
    if (got > 0 && tap_ && !tap_(pair.number, from, bytes)) pair.is_ending = true;
    held.insert(held.end(), bytes.begin(), bytes.end());
  }
  if (held.empty()) return !pair.is_ending;
  const ssize_t put = send(sink, held.data(), held.size(), MSG_NOSIGNAL);
  if (put < 0 && errno != EAGAIN) return false;
  if (put > 0) held.erase(held.begin(), held.begin() + put);
  return true;
}

void Proxy::close_pair(Pair& pair, bool with_reset) {
  for (int& fd : pair.fds) {
    if (fd < 0) continue;
    const linger hard{.l_onoff = 1, .l_linger = 0};
    if (with_reset) setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    fd = -1;
  }
}

}  // namespace mapl::chaos
