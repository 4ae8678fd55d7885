// The one I/O thread of a process: drives the sessions of all its links and answers libzmq's
// question whether a key may come in (ZAP, RFC 27).
//
// It waits in one poll over the sockets, their monitors, the ZAP socket and an eventfd by which
// other threads wake it; it never sleeps for a fixed time.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "link/zmq_session.h"

namespace mapl::link {

class IoLoop {
 public:
  // Who may come in where: one key per link.
  struct Gate {
    std::string public_key;  // 40 characters of Z85
    std::shared_ptr<Mailbox> mailbox;
  };

  IoLoop();
  // REQUIRES: every mailbox is closed. Waits until goodbyes have left, a second at most.
  ~IoLoop();

  // Any thread.
  zmq::context_t& context() { return context_; }
  void add(std::unique_ptr<Session> session);
  std::string next_name();  // unlike all others of this loop
  // `domain` is the socket's ZAP domain. Before the socket is bound.
  void open_gate(const std::string& domain, Gate gate);
  void close_gate(const std::string& domain);
  void wake() noexcept;

 private:
  void run(std::stop_token stop);
  void answer_zap();
  bool may_enter(const std::string& domain, const std::string& public_key);

  zmq::context_t context_;
  zmq::socket_t zap_;
  const int wake_fd_;

  std::mutex mutex_;  // guards the three below
  int num_names_ = 0;
  std::vector<std::unique_ptr<Session>> arriving_;
  std::map<std::string, Gate> gates_;

  std::jthread thread_;
};

}  // namespace mapl::link
