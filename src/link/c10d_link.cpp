#include "link/c10d_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace mapl::link {
namespace {

// Frames come when they come: how long to wait for one is the owner's business, and whether the
// peer lives shows in its control messages.
constexpr double kForever = std::numeric_limits<double>::infinity();

}  // namespace

C10dLink::C10dLink(std::unique_ptr<Wire> wire, const LinkOptions& options)
    : mailbox_(options, [this] { wake(); }), wire_(std::move(wire)), thread_([this] { run(); }) {
  mailbox_.connected();
}

C10dLink::~C10dLink() { close(); }

Status C10dLink::send(Frame&& frame, Deadline deadline) {
  return mailbox_.send(std::move(frame), deadline);
}
Result<Frame> C10dLink::recv(Deadline deadline) { return mailbox_.recv(deadline); }
Status C10dLink::health() { return mailbox_.health(); }
Status C10dLink::flush(Deadline deadline) { return mailbox_.flush(deadline); }
void C10dLink::close() noexcept {
  mailbox_.close();
  end();
}

void C10dLink::run() {
  {
    std::jthread frames_out([this] { send_frames(); });
    std::jthread frames_in([this] { recv_frames(); });
    std::jthread control_in([this] { recv_control(); });
    send_control();
  }
  std::unique_ptr<Wire> unused;
  std::lock_guard lock(mutex_);
  unused = std::move(wire_);
}

void C10dLink::wake() {
  // Whoever is about to wait must not miss what has changed in the mailbox.
  { std::lock_guard lock(mutex_); }
  frames_changed_.notify_one();
  if (mailbox_.credit_due() || mailbox_.wants_flush()) control_changed_.notify_one();
}

void C10dLink::fail(const Status& why) {
  std::string words = why.message();
  if (why.code() == Code::kPeerLost) {
    std::lock_guard lock(mutex_);
    // WHY here: when the engine gives up waiting, any of the threads may be the first to hear.
    const std::chrono::duration<double> silence = Clock::now() - heard_at_;
    const double limit = mailbox_.options().silence_seconds;
    if (silence.count() >= limit) words = fmt::format("silent for {:.1f} s", limit);
  }
  mailbox_.fail({why.code(), fmt::format("{}: {}", mailbox_.options().peer, words)});
  end();
}

void C10dLink::end() noexcept {
  std::lock_guard lock(mutex_);
  ended_ = true;
  if (wire_) wire_->abort();
  frames_changed_.notify_one();
  control_changed_.notify_one();
}

void C10dLink::send_control() {
  const std::chrono::duration<double> heartbeat(mailbox_.options().heartbeat_seconds);
  while (true) {
    Control control;
    {
      std::unique_lock lock(mutex_);
      control_changed_.wait_for(lock, heartbeat, [&] { return ended_ || is_control_due(); });
      if (ended_) return;
      control_due_ = false;
      has_asked_ = mailbox_.wants_flush();
      granted_bytes_ = mailbox_.take_consumed() + mailbox_.options().max_queued_bytes +
                       mailbox_.max_frame_bytes();
      control = {.wants_answer = has_asked_,
                 .received_bytes = received_bytes_,
                 .limit_bytes = granted_bytes_};
    }
    const Status sent = wire_->send(Channel::kControl, encode_control(control));
    if (!sent.is_ok()) return fail(sent);
  }
}

bool C10dLink::is_control_due() {
  return control_due_ || mailbox_.credit_due() || (mailbox_.wants_flush() && !has_asked_);
}

void C10dLink::recv_control() {
  while (true) {
    const Status received = recv_control_message();
    if (!received.is_ok()) return fail(received);
  }
}

Status C10dLink::recv_control_message() {
  std::array<std::byte, kControlBytes> bytes{};
  const Status status = wire_->recv(Channel::kControl, bytes, mailbox_.options().silence_seconds);
  if (!status.is_ok()) return status;
  const Result<Control> control = decode_control(bytes);
  if (!control.is_ok()) return control.status();
  {
    std::lock_guard lock(mutex_);
    heard_at_ = Clock::now();
    if (control.value().received_bytes > handed_bytes_) {
      return {Code::kCorrupt, "it acknowledges more than was sent"};
    }
    limit_bytes_ = std::max(limit_bytes_, control.value().limit_bytes);
    peer_asks_ = control.value().wants_answer;
    control_due_ |= peer_asks_;
  }
  mailbox_.peer_received(control.value().received_bytes);
  frames_changed_.notify_one();
  if (control.value().wants_answer) control_changed_.notify_one();
  return Status::ok();
}

void C10dLink::send_frames() {
  while (true) {
    std::optional<Outgoing> frame;
    {
      std::unique_lock lock(mutex_);
      frames_changed_.wait(lock, [&] {
        if (!frame.has_value()) frame = mailbox_.take();
        return ended_ || (frame.has_value() && handed_bytes_ + frame->size() <= limit_bytes_);
      });
      if (ended_) return;
      handed_bytes_ += frame->size();
    }
    const Status sent = send_frame(*frame);
    if (!sent.is_ok()) return fail(sent);
    mailbox_.left(frame->size());
    if (mailbox_.wants_flush()) wake();
  }
}

Status C10dLink::send_frame(const Outgoing& frame) {
  const Status status = wire_->send(Channel::kHeader, frame.header);
  if (!status.is_ok() || frame.payload.empty()) return status;
  return wire_->send(Channel::kPayload, frame.payload);
}

void C10dLink::recv_frames() {
  while (true) {
    Result<Frame> frame = recv_frame();
    if (!frame.is_ok()) return fail(frame.status());
    const uint64_t size = kHeaderBytes + frame.value().payload.size();
    mailbox_.deliver(std::move(frame.value()));
    {
      std::lock_guard lock(mutex_);
      received_bytes_ += size;
      if (!peer_asks_) continue;
      control_due_ = true;
    }
    control_changed_.notify_one();
  }
}

Result<Frame> C10dLink::recv_frame() {
  std::array<std::byte, kHeaderBytes> header_bytes{};
  const Status status = wire_->recv(Channel::kHeader, header_bytes, kForever);
  if (!status.is_ok()) return status;
  const Result<Header> header =
      decode_header(header_bytes, mailbox_.max_frame_bytes() - kHeaderBytes);
  if (!header.is_ok()) return header.status();
  Frame frame{.header = header.value()};
  {
    std::lock_guard lock(mutex_);
    if (received_bytes_ + kHeaderBytes + frame.header.payload_bytes > granted_bytes_) {
      return Status(Code::kCorrupt,
                    fmt::format("it sent more than the {} bytes it was granted", granted_bytes_));
    }
  }
  frame.payload.resize(frame.header.payload_bytes);
  if (!frame.payload.empty()) {
    const Status rest = wire_->recv(Channel::kPayload, frame.payload, kForever);
    if (!rest.is_ok()) return rest;
  }
  if (Status whole = check_payload(header_bytes, frame.payload); !whole.is_ok()) return whole;
  return frame;
}

}  // namespace mapl::link
