#include "link/inproc.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

namespace mapl::link {
namespace {

// One direction.
struct Lane {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Frame> frames;
  uint64_t queued_bytes = 0;
  bool sender_closed = false;
  bool receiver_closed = false;
  Status aborted;  // the words of an abort frame, known before its turn comes
};

uint64_t size_of(const Frame& frame) { return kHeaderBytes + frame.payload.size(); }

class InprocLink : public Link {
 public:
  InprocLink(LinkOptions options, std::shared_ptr<Lane> out, std::shared_ptr<Lane> in)
      : options_(std::move(options)), out_(std::move(out)), in_(std::move(in)) {}
  ~InprocLink() override { close(); }

  Status send(Frame&& frame, Deadline deadline) override {
    frame.header.payload_bytes = frame.payload.size();
    std::unique_lock lock(out_->mutex);
    const bool ready = out_->changed.wait_until(lock, deadline, [&] {
      return out_->queued_bytes <= options_.max_queued_bytes || out_->sender_closed ||
             out_->receiver_closed;
    });
    if (out_->sender_closed) return closed();
    if (out_->receiver_closed) return lost();
    if (!ready) {
      return {Code::kTimeout, fmt::format("{} takes nothing: {} bytes wait to leave", options_.peer,
                                          out_->queued_bytes)};
    }
    if (frame.header.kind == Kind::kAbort) out_->aborted = abort_status(frame);
    out_->queued_bytes += size_of(frame);
    out_->frames.push_back(std::move(frame));
    out_->changed.notify_all();
    return Status::ok();
  }

  Result<Frame> recv(Deadline deadline) override {
    std::unique_lock lock(in_->mutex);
    in_->changed.wait_until(lock, deadline, [&] {
      return !in_->frames.empty() || in_->sender_closed || in_->receiver_closed;
    });
    if (in_->receiver_closed) return closed();
    if (in_->frames.empty()) {
      if (in_->sender_closed) return lost();
      return Status(Code::kTimeout, fmt::format("nothing from {} in time", options_.peer));
    }
    Frame frame = std::move(in_->frames.front());
    in_->frames.pop_front();
    in_->queued_bytes -= size_of(frame);
    in_->changed.notify_all();
    lock.unlock();
    const uint64_t limit = std::max<uint64_t>(options_.max_payload_bytes, kMaxAbortBytes);
    if (frame.payload.size() > limit) {
      close();
      return Status(
          Code::kCorrupt,
          fmt::format("{} sent a {} frame of {} bytes, at most {} are declared", options_.peer,
                      kind_name(frame.header.kind), frame.payload.size(), limit));
    }
    return frame;
  }

  Status health() override {
    std::lock_guard lock(in_->mutex);
    if (in_->receiver_closed) return closed();
    if (!in_->aborted.is_ok()) return in_->aborted;
    return in_->sender_closed ? lost() : Status::ok();
  }

  Status flush(Deadline) override {
    std::lock_guard lock(out_->mutex);
    if (out_->sender_closed) return closed();
    return out_->receiver_closed && !out_->frames.empty() ? lost() : Status::ok();
  }

  void close() noexcept override {
    {
      std::lock_guard lock(out_->mutex);
      out_->sender_closed = true;
    }
    out_->changed.notify_all();
    {
      std::lock_guard lock(in_->mutex);
      in_->receiver_closed = true;
    }
    in_->changed.notify_all();
  }

 private:
  Status closed() const {
    return {Code::kClosed, fmt::format("the link to {} is closed", options_.peer)};
  }
  Status lost() const {
    return {Code::kPeerLost, fmt::format("{} closed the link", options_.peer)};
  }

  const LinkOptions options_;
  const std::shared_ptr<Lane> out_;
  const std::shared_ptr<Lane> in_;
};

}  // namespace

std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> make_inproc_pair(const LinkOptions& a,
                                                                         const LinkOptions& b) {
  auto forth = std::make_shared<Lane>();
  auto back = std::make_shared<Lane>();
  return {std::make_unique<InprocLink>(a, forth, back),
          std::make_unique<InprocLink>(b, back, forth)};
}

}  // namespace mapl::link
