// The one I/O thread of a process: drives the sessions of all its links and answers libzmq's
// question whether a key may come in (ZAP, RFC 27).
//
// It waits in one poll over the sockets, their monitors, the ZAP socket and an eventfd by which
// other threads wake it; it never sleeps for a fixed time.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
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
    uint64_t num_turned_away = 0;
  };

  IoLoop();
  // REQUIRES: every mailbox is closed. Waits until goodbyes have left, a second at most.
  ~IoLoop();

  // Any thread.
  zmq::context_t& context() { return context_; }
  //   bound  the endpoint as it was asked for, of a session that is bound to it
  void add(std::unique_ptr<Session> session, const std::string& bound = "");
  // Waits until no session of this loop is bound to the endpoint: a closed link's may still be.
  void wait_released(const std::string& endpoint, Deadline deadline);
  std::string next_name();  // unlike all others of this loop
  // `domain` is the socket's ZAP domain. Before the socket is bound.
  void open_gate(const std::string& domain, Gate gate);
  void close_gate(const std::string& domain);
  void wake() noexcept;

 private:
  struct Held {
    std::unique_ptr<Session> session;
    std::string bound;
  };
  void run(std::stop_token stop);
  void drop_closed(std::vector<Held>& sessions);
  void answer_zap();
  bool may_enter(const std::string& domain, const std::string& public_key);

  zmq::context_t context_;
  zmq::socket_t zap_;
  const int wake_fd_;

  std::mutex mutex_;  // guards those below
  std::condition_variable released_;
  int num_names_ = 0;
  std::vector<Held> arriving_;
  std::multiset<std::string> bound_;
  std::map<std::string, Gate> gates_;

  std::jthread thread_;
};

}  // namespace mapl::link
