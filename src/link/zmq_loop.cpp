#include "link/zmq_loop.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "base/check.h"
#include "base/log.h"
#include "link/curve_keys.h"

namespace mapl::link {
namespace {

// Ctrl-C is for the thread that owns the stage.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

std::chrono::milliseconds until(Deadline due) {
  if (due == Deadline::max()) return std::chrono::milliseconds(-1);
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now());
  return std::max(wait, std::chrono::milliseconds(0));
}

}  // namespace

IoLoop::IoLoop()
    : context_(1), zap_(context_, zmq::socket_type::rep), wake_fd_(eventfd(0, EFD_CLOEXEC)) {
  MAPL_CHECK(wake_fd_ >= 0, "eventfd: {}", std::strerror(errno));
  zap_.set(zmq::sockopt::linger, 0);
  zap_.bind("inproc://zeromq.zap.01");
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

IoLoop::~IoLoop() {
  thread_.request_stop();
  wake();
  thread_.join();
  zap_.close();
  context_.close();
  ::close(wake_fd_);
}

void IoLoop::add(std::unique_ptr<Session> session, const std::string& bound) {
  {
    std::lock_guard lock(mutex_);
    arriving_.push_back({std::move(session), bound});
    if (!bound.empty()) bound_.insert(bound);
  }
  wake();
}

void IoLoop::wait_released(const std::string& endpoint, Deadline deadline) {
  std::unique_lock lock(mutex_);
  released_.wait_until(lock, deadline, [&] { return !bound_.contains(endpoint); });
}

std::string IoLoop::next_name() {
  std::lock_guard lock(mutex_);
  return fmt::format("link-{}", num_names_++);
}

void IoLoop::open_gate(const std::string& domain, Gate gate) {
  std::lock_guard lock(mutex_);
  gates_[domain] = std::move(gate);
}

void IoLoop::close_gate(const std::string& domain) {
  std::lock_guard lock(mutex_);
  gates_.erase(domain);
}

void IoLoop::wake() noexcept {
  const uint64_t one = 1;
  const ssize_t written = ::write(wake_fd_, &one, sizeof(one));
  MAPL_CHECK(written == sizeof(one), "eventfd write: {}", std::strerror(errno));
}

void IoLoop::run(std::stop_token stop) {
  block_signals();
  std::vector<Held> sessions;
  std::vector<zmq::pollitem_t> items;
  bool more = false;
  while (true) {
    items.assign({{nullptr, wake_fd_, ZMQ_POLLIN, 0}, {zap_.handle(), 0, ZMQ_POLLIN, 0}});
    Deadline due = more ? Clock::now() : Deadline::max();
    for (const auto& [session, bound] : sessions) {
      session->append_poll_items(items);
      due = std::min(due, session->next_due());
    }
    zmq::poll(items, until(due));
    if (items[0].revents != 0) {
      uint64_t count = 0;
      (void)!::read(wake_fd_, &count, sizeof(count));
    }
    if (items[1].revents != 0) answer_zap();
    const bool is_last = stop.stop_requested();
    {
      std::lock_guard lock(mutex_);
      std::move(arriving_.begin(), arriving_.end(), std::back_inserter(sessions));
      arriving_.clear();
    }
    more = false;
    for (const auto& held : sessions) more = held.session->turn() || more;
    drop_closed(sessions);
    const auto is_leaving = [](const Held& held) { return held.session->is_leaving(); };
    if (is_last && std::none_of(sessions.begin(), sessions.end(), is_leaving)) return;
  }
}

void IoLoop::drop_closed(std::vector<Held>& sessions) {
  const auto is_closed = [](const Held& held) { return !held.session->is_open(); };
  {
    std::lock_guard lock(mutex_);
    for (const Held& held : sessions) {
      const auto at = is_closed(held) ? bound_.find(held.bound) : bound_.end();
      if (at != bound_.end()) bound_.erase(at);
    }
  }
  if (std::erase_if(sessions, is_closed) > 0) released_.notify_all();
}

void IoLoop::answer_zap() {
  // version, request id, domain, address, identity, mechanism, credentials
  std::vector<zmq::message_t> parts;
  do {
    parts.emplace_back();
    (void)zap_.recv(parts.back());
  } while (parts.back().more());
  if (parts.size() < 2) return;
  bool ok = false;
  if (parts.size() == 7 && parts[5].to_string_view() == "CURVE") {
    ok = may_enter(parts[2].to_string(), to_z85({parts[6].data<std::byte>(), parts[6].size()}));
  }
  zap_.send(parts[0], zmq::send_flags::sndmore);
  zap_.send(parts[1], zmq::send_flags::sndmore);
  zap_.send(zmq::buffer(std::string_view(ok ? "200" : "400")), zmq::send_flags::sndmore);
  zap_.send(zmq::buffer(std::string_view(ok ? "welcome" : "another key")),
            zmq::send_flags::sndmore);
  zap_.send(zmq::message_t(), zmq::send_flags::sndmore);  // user id
  zap_.send(zmq::message_t(), zmq::send_flags::none);     // metadata
}

bool IoLoop::may_enter(const std::string& domain, const std::string& public_key) {
  std::lock_guard lock(mutex_);
  const auto gate = gates_.find(domain);
  if (gate == gates_.end()) return false;
  auto& [expected, mailbox, num_turned_away] = gate->second;
  if (public_key == expected) return true;
  const std::string why = fmt::format(
      "{} did not come; who came presented another key, {}, where {} is expected: check the public "
      "keys in the recipe",
      mailbox->options().peer, public_key, expected);
  // WHY not each: anyone can knock, as often as he likes, and the log must not fill the disk.
  if (std::has_single_bit(++num_turned_away)) {
    spdlog::warn("turned away, {} so far: {}", num_turned_away, why);
  }
  mailbox->turned_away(why);
  return false;
}

}  // namespace mapl::link
