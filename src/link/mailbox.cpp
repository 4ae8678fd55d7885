#include "link/mailbox.h"

#include <fmt/format.h>

#include <algorithm>

namespace mapl::link {

Mailbox::Mailbox(LinkOptions options, std::function<void()> wake)
    : options_(std::move(options)), wake_(std::move(wake)) {}

Status Mailbox::why_not() const {
  if (closed_) return {Code::kClosed, fmt::format("the link to {} is closed", options_.peer)};
  return failure_;
}

Status Mailbox::wait_connected(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return connected_ || closed_ || !failure_.is_ok(); });
  if (connected_) return Status::ok();
  if (Status status = why_not(); !status.is_ok()) return status;
  if (!turned_away_.empty()) return {Code::kRefused, turned_away_};
  return {Code::kTimeout, fmt::format("{} did not connect in time: is it running?", options_.peer)};
}

Status Mailbox::send(Frame&& frame, Deadline deadline) {
  frame.header.payload_bytes = frame.payload.size();
  Outgoing outgoing{encode_header(frame), {}, frame.header.kind};
  const bool aborts = frame.header.kind == Kind::kAbort;
  std::unique_lock lock(mutex_);
  if (aborts) drop_tensors();
  const bool ready = changed_.wait_until(lock, deadline, [&] {
    return aborts || waiting_bytes_ <= options_.max_queued_bytes || closed_ || !failure_.is_ok();
  });
  if (Status status = why_not(); !status.is_ok()) return status;
  if (!ready) {
    return {Code::kTimeout,
            fmt::format("{} takes nothing: {} bytes wait to leave", options_.peer, waiting_bytes_)};
  }
  outgoing.payload = std::move(frame.payload);
  waiting_bytes_ += outgoing.size();
  sent_bytes_ += outgoing.size();
  out_.push_back(std::move(outgoing));
  lock.unlock();
  wake_();
  return Status::ok();
}

// WHY: behind what a slow line takes minutes for the reason would never arrive, and after an abort
// the tensors of a step are of no use. Votes and decisions before them are.
void Mailbox::drop_tensors() {
  const auto is_tensor = [](const Outgoing& outgoing) {
    return outgoing.kind == Kind::kActivation || outgoing.kind == Kind::kGradient ||
           outgoing.kind == Kind::kState;
  };
  const auto first = std::find_if(out_.begin(), out_.end(), is_tensor);
  for (auto at = first; at != out_.end(); ++at) {
    waiting_bytes_ -= at->size();
    sent_bytes_ -= at->size();
  }
  out_.erase(first, out_.end());
}

Result<Frame> Mailbox::recv(Deadline deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return !in_.empty() || closed_ || !failure_.is_ok(); });
  if (closed_) return why_not();
  if (in_.empty()) {
    if (!failure_.is_ok()) return failure_;
    return Status(Code::kTimeout, fmt::format("nothing from {} in time", options_.peer));
  }
  Frame frame = std::move(in_.front());
  in_.pop_front();
  consumed_bytes_ += kHeaderBytes + frame.payload.size();
  const bool wake = is_credit_due();
  lock.unlock();
  if (wake) wake_();
  return frame;
}

Status Mailbox::health() {
  std::lock_guard lock(mutex_);
  return aborted_.is_ok() || closed_ ? why_not() : aborted_;
}

Status Mailbox::flush(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const uint64_t target = sent_bytes_;
  const auto arrived = [&] { return peer_received_bytes_ >= target; };
  if (arrived()) return Status::ok();
  flushing_ = true;
  lock.unlock();
  wake_();
  lock.lock();
  changed_.wait_until(lock, deadline, [&] { return arrived() || closed_ || !failure_.is_ok(); });
  flushing_ = false;
  if (arrived()) return Status::ok();
  if (Status status = why_not(); !status.is_ok()) return status;
  return {Code::kTimeout, fmt::format("{} of {} bytes have not reached {} in time",
                                      target - peer_received_bytes_, target, options_.peer)};
}

void Mailbox::close() noexcept {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    out_.clear();
    in_.clear();
  }
  changed_.notify_all();
  wake_();
}

bool Mailbox::is_closed() {
  std::lock_guard lock(mutex_);
  return closed_;
}

std::optional<Outgoing> Mailbox::take() {
  std::lock_guard lock(mutex_);
  if (out_.empty()) return std::nullopt;
  Outgoing outgoing = std::move(out_.front());
  out_.pop_front();
  return outgoing;
}

bool Mailbox::wants_flush() {
  std::lock_guard lock(mutex_);
  return flushing_ && waiting_bytes_ == 0;
}

void Mailbox::left(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    waiting_bytes_ -= bytes;
  }
  changed_.notify_all();
}

void Mailbox::deliver(Frame frame) {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    if (frame.header.kind == Kind::kAbort) aborted_ = abort_status(frame);
    in_.push_back(std::move(frame));
  }
  changed_.notify_all();
}

void Mailbox::connected() {
  {
    std::lock_guard lock(mutex_);
    connected_ = true;
  }
  changed_.notify_all();
}

void Mailbox::peer_received(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    peer_received_bytes_ = std::max(peer_received_bytes_, bytes);
  }
  changed_.notify_all();
}

void Mailbox::turned_away(const std::string& why) {
  std::lock_guard lock(mutex_);
  turned_away_ = why;
}

void Mailbox::fail(Status why) {
  {
    std::lock_guard lock(mutex_);
    if (!failure_.is_ok()) return;
    failure_ = std::move(why);
  }
  changed_.notify_all();
}

bool Mailbox::is_credit_due() const {
  return consumed_bytes_ - reported_bytes_ > options_.max_queued_bytes / 4;
}

bool Mailbox::credit_due() {
  std::lock_guard lock(mutex_);
  return is_credit_due();
}

uint64_t Mailbox::take_consumed() {
  std::lock_guard lock(mutex_);
  reported_bytes_ = consumed_bytes_;
  return consumed_bytes_;
}

uint64_t Mailbox::max_frame_bytes() const {
  return kHeaderBytes + std::max<uint64_t>(options_.max_payload_bytes, kMaxAbortBytes);
}

}  // namespace mapl::link
