#include "link/shaped.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <optional>
#include <thread>

#include "base/check.h"

namespace mapl::link {
namespace {

int64_t latency_ns(const ShapeOptions& options) { return std::llround(options.latency_ms * 1e6); }

int64_t billed_bytes(const Frame& frame) {
  return kHeaderBytes + static_cast<int64_t>(frame.payload.size());
}

Clock::time_point at(int64_t ns) {
  return Clock::time_point(
      std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(ns)));
}

Status closed() { return {Code::kClosed, "the shaped link is closed"}; }

// Holds each frame back until its arrival, in a thread of its own, then hands it to the inner link.
class PipelinedLink : public Link {
 public:
  PipelinedLink(std::unique_ptr<Link> inner, const ShapeOptions& options)
      : inner_(std::move(inner)), options_(options), pump_([this] { pump(); }) {}
  ~PipelinedLink() override { close(); }

  Status send(Frame&& frame, Deadline deadline) override {
    std::unique_lock lock(mutex_);
    const bool is_abort = frame.header.kind == Kind::kAbort;
    if (is_abort) drop_tensors();
    const bool ready = changed_.wait_until(lock, deadline, [&] {
      return is_abort || queued_bytes_ <= options_.max_queued_bytes || closed_ || !failure_.is_ok();
    });
    if (closed_) return closed();
    if (!failure_.is_ok()) return failure_;
    if (!ready) {
      return {Code::kTimeout, fmt::format("{} bytes wait for the shaped wire", queued_bytes_)};
    }
    const int64_t bytes = billed_bytes(frame);
    const Passage passage = pipelined_passage(wire_free_ns_, now_ns(), bytes, options_);
    wire_free_ns_ = passage.leaves_ns;
    queued_bytes_ += static_cast<uint64_t>(bytes);
    queue_.push_back({std::move(frame), passage});
    changed_.notify_all();
    return Status::ok();
  }

  Result<Frame> recv(Deadline deadline) override { return inner_->recv(deadline); }

  Status health() override {
    {
      std::lock_guard lock(mutex_);
      if (!failure_.is_ok()) return failure_;
    }
    return inner_->health();
  }

  Status flush(Deadline deadline) override {
    {
      std::unique_lock lock(mutex_);
      const bool empty = changed_.wait_until(
          lock, deadline, [&] { return queued_bytes_ == 0 || closed_ || !failure_.is_ok(); });
      if (closed_) return closed();
      if (!failure_.is_ok()) return failure_;
      if (!empty) {
        return {Code::kTimeout,
                fmt::format("{} bytes are still on the shaped wire", queued_bytes_)};
      }
    }
    return inner_->flush(deadline);
  }

  void close() noexcept override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    inner_->close();
  }

 private:
  struct Held {
    Frame frame;
    Passage passage;
  };

  // As Mailbox::drop_tensors(): an abort does not wait behind them. What the wire has begun to
  // carry it carries to its end.
  void drop_tensors() {
    const auto is_waiting_tensor = [&, now = now_ns()](const Held& held) {
      const Kind kind = held.frame.header.kind;
      const int64_t begins_ns =
          held.passage.leaves_ns -
          transmission_ns(billed_bytes(held.frame), options_.bandwidth_mbps * kLineShare);
      return begins_ns > now &&
             (kind == Kind::kActivation || kind == Kind::kGradient || kind == Kind::kState);
    };
    const auto first = std::find_if(queue_.begin(), queue_.end(), is_waiting_tensor);
    if (first == queue_.end()) return;
    for (auto at = first; at != queue_.end(); ++at) {
      queued_bytes_ -= static_cast<uint64_t>(billed_bytes(at->frame));
    }
    queue_.erase(first, queue_.end());
    wire_free_ns_ = queue_.empty() ? 0 : queue_.back().passage.leaves_ns;
  }

  void pump() {
    prctl(PR_SET_TIMERSLACK, 1UL);  // the kernel may wake a thread 50 us late to save power
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return !queue_.empty() || closed_; });
      if (closed_) return;
      const int64_t arrives_ns = queue_.front().passage.arrives_ns;
      if (now_ns() < arrives_ns) {  // until then it may be closed, or an abort be first
        changed_.wait_until(lock, at(arrives_ns));
        continue;
      }
      Frame frame = std::move(queue_.front().frame);
      queue_.pop_front();
      const auto bytes = static_cast<uint64_t>(billed_bytes(frame));
      lock.unlock();
      Status status = inner_->send(std::move(frame), Deadline::max());  // ends when inner closes
      lock.lock();
      queued_bytes_ -= bytes;
      failure_ = std::move(status);
      changed_.notify_all();
      if (!failure_.is_ok()) return;
    }
  }

  const std::unique_ptr<Link> inner_;
  const ShapeOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Held> queue_;
  uint64_t queued_bytes_ = 0;  // not yet with the inner link
  int64_t wire_free_ns_ = 0;
  bool closed_ = false;
  Status failure_;
  std::jthread pump_;  // last: it uses all of the above
};

// Makes the receiver wait until the stage's one inbound wire has carried the frame.
class SerialLink : public Link {
 public:
  SerialLink(std::unique_ptr<Link> inner, const ShapeOptions& options,
             std::shared_ptr<SerialWire> wire)
      : inner_(std::move(inner)), options_(options), wire_(std::move(wire)) {}

  Status send(Frame&& frame, Deadline deadline) override {
    frame.header.sent_ns = now_ns();
    return inner_->send(std::move(frame), deadline);
  }

  Result<Frame> recv(Deadline deadline) override {
    if (!held_.has_value()) {
      Result<Frame> received = inner_->recv(deadline);
      if (!received.is_ok()) return received;
      if (received.value().header.sent_ns == 0) {
        return Status(Code::kCorrupt, "no time of sending: the peer's end is not shaped");
      }
      held_ = std::move(received.value());
      std::lock_guard lock(wire_->mutex);
      wire_->arrives_ns =
          serial_arrival(wire_->arrives_ns, held_->header.sent_ns, billed_bytes(*held_), options_);
      arrives_ns_ = wire_->arrives_ns;
    }
    std::unique_lock lock(mutex_);
    const auto until = std::min(at(arrives_ns_), deadline);
    if (closing_.wait_until(lock, until, [&] { return closed_; })) return closed();
    if (at(arrives_ns_) > deadline) {
      return Status(Code::kTimeout, "a frame is still on the shaped wire");
    }
    Frame frame = std::move(*held_);
    held_.reset();
    return frame;
  }

  Status health() override { return inner_->health(); }
  Status flush(Deadline deadline) override { return inner_->flush(deadline); }

  void close() noexcept override {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    closing_.notify_all();
    inner_->close();
  }

 private:
  const std::unique_ptr<Link> inner_;
  const ShapeOptions options_;
  const std::shared_ptr<SerialWire> wire_;
  std::optional<Frame> held_;  // received, not yet arrived; recv()'s thread
  int64_t arrives_ns_ = 0;     // of held_
  std::mutex mutex_;
  std::condition_variable closing_;
  bool closed_ = false;
};

}  // namespace

int64_t transmission_ns(int64_t bytes, double bandwidth_mbps) {
  if (bandwidth_mbps == 0.0) return 0;
  return std::llround(8.0 * static_cast<double>(bytes) * 1e3 / bandwidth_mbps);
}

Passage pipelined_passage(int64_t wire_free_ns, int64_t sent_ns, int64_t bytes,
                          const ShapeOptions& options) {
  const int64_t leaves =
      std::max(wire_free_ns, sent_ns) + transmission_ns(bytes, options.bandwidth_mbps * kLineShare);
  return {leaves, leaves + latency_ns(options)};
}

int64_t serial_arrival(int64_t arrives_ns, int64_t sent_ns, int64_t bytes,
                       const ShapeOptions& options) {
  return std::max(arrives_ns, sent_ns) + transmission_ns(bytes, options.bandwidth_mbps) +
         latency_ns(options);
}

std::unique_ptr<Link> make_shaped(std::unique_ptr<Link> inner, const ShapeOptions& options,
                                  std::shared_ptr<SerialWire> wire) {
  MAPL_CHECK(options.bandwidth_mbps >= 0.0 && options.latency_ms >= 0.0,
             "bandwidth {} Mbit/s and latency {} ms must not be negative", options.bandwidth_mbps,
             options.latency_ms);
  if (options.bandwidth_mbps == 0.0 && options.latency_ms == 0.0) return inner;
  if (options.meter == Meter::kPipelined) {
    return std::make_unique<PipelinedLink>(std::move(inner), options);
  }
  MAPL_CHECK(wire != nullptr, "the serial meter needs the wire of its stage");
  return std::make_unique<SerialLink>(std::move(inner), options, std::move(wire));
}

}  // namespace mapl::link
