#include "pipeline/channel.h"

#include <fmt/format.h>

#include "base/clock.h"

namespace mapl::pipeline {
namespace {

// How often a wait looks at the other neighbour: a failure crosses each stage within this.
constexpr double kLookSeconds = 0.1;
// How long an abort may take to arrive. WHY longer for one that ends the run: who does not hear of
// it waits for this stage to come again.
constexpr double kAbortSeconds = 1.0;
constexpr double kFinalAbortSeconds = 5.0;

class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() { total_ += 1e-9 * static_cast<double>(now_ns() - start_); }

 private:
  double& total_;
  int64_t start_ = now_ns();
};

link::Expected expected_of(const Channel::Message& message, int64_t payload_bytes) {
  return {.kind = message.kind,
          .step = message.step,
          .micro_batch = message.micro_batch,
          .payload_bytes = static_cast<uint64_t>(payload_bytes),
          .packing = message.packing};
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& other) {
  activation_bytes += other.activation_bytes;
  gradient_bytes += other.gradient_bytes;
  token_id_bytes += other.token_id_bytes;
  sync_bytes += other.sync_bytes;
  header_bytes += other.header_bytes;
  return *this;
}

Traffic Traffic::operator-(const Traffic& other) const {
  return {activation_bytes - other.activation_bytes, gradient_bytes - other.gradient_bytes,
          token_id_bytes - other.token_id_bytes, sync_bytes - other.sync_bytes,
          header_bytes - other.header_bytes};
}

int64_t Traffic::total() const {
  return activation_bytes + gradient_bytes + token_id_bytes + sync_bytes + header_bytes;
}

Status Channel::send(const Message& message, Bytes payload, int64_t token_id_bytes) {
  const Stopwatch watch(sending_seconds_);
  const Trace::Scope scope(options_.trace, {"send", link::kind_name(message.kind)}, message.step,
                           static_cast<int>(message.micro_batch));
  const auto bytes = static_cast<int64_t>(payload.size());
  link::Frame frame;
  frame.header.kind = message.kind;
  frame.header.packing = message.packing;
  frame.header.boundary = static_cast<uint16_t>(options_.boundary);
  frame.header.step = message.step;
  frame.header.micro_batch = message.micro_batch;
  frame.header.payload_bytes = payload.size();
  frame.header.sent_ns = now_ns();
  frame.payload = std::move(payload);
  const Deadline deadline = in_seconds(options_.timeout_seconds);
  Status status;
  do {
    status = link_.send(std::move(frame), std::min(deadline, in_seconds(kLookSeconds)));
    if (status.code() != Code::kTimeout) break;
    if (Status end = reason_to_end(message, /*sending=*/true); !end.is_ok()) return end;
  } while (Clock::now() < deadline);
  if (!status.is_ok()) {
    // A neighbour that gave up has said why before it went.
    const Status health = link_.health();
    const bool has_said = health.code() == Code::kAborted || health.code() == Code::kEnded;
    const Status& reason = has_said ? health : status;
    return reason.in(where(message, /*sending=*/true));
  }
  if (counting_) count(message.kind, bytes, token_id_bytes);
  return Status::ok();
}

void Channel::count(link::Kind kind, int64_t bytes, int64_t token_id_bytes) {
  traffic_.header_bytes += link::kHeaderBytes;
  if (kind == link::Kind::kActivation) {
    traffic_.activation_bytes += bytes - token_id_bytes;
    traffic_.token_id_bytes += token_id_bytes;
  } else if (kind == link::Kind::kGradient) {
    traffic_.gradient_bytes += bytes;
  } else {
    traffic_.sync_bytes += bytes;
  }
}

Result<Bytes> Channel::recv(const Message& message, int64_t payload_bytes) {
  return recv(message, expected_of(message, payload_bytes));
}

Result<Bytes> Channel::recv_at_most(const Message& message, int64_t payload_bytes) {
  link::Expected expected = expected_of(message, payload_bytes);
  expected.or_fewer_bytes = true;
  return recv(message, expected);
}

Result<Bytes> Channel::recv(const Message& message, const link::Expected& expected) {
  const Stopwatch watch(waited_seconds_);
  const Trace::Scope scope(options_.trace, {"wait for", link::kind_name(message.kind)},
                           message.step, static_cast<int>(message.micro_batch));
  const Deadline deadline = in_seconds(options_.timeout_seconds);
  while (true) {
    const Deadline look = std::min(deadline, in_seconds(kLookSeconds));
    auto frame = link::recv_expected(link_, expected, look);
    if (frame.is_ok()) return std::move(frame.value().payload);
    if (frame.status().code() != Code::kTimeout || Clock::now() >= deadline) {
      return frame.status().in(where(message, /*sending=*/false));
    }
    if (Status end = reason_to_end(message, /*sending=*/false); !end.is_ok()) return end;
  }
}

Status Channel::reason_to_end(const Message& message, bool sending) const {
  if (stop_.stop_requested()) {
    return Status(Code::kClosed, "asked to stop").in(where(message, sending));
  }
  if (other_ == nullptr) return Status::ok();
  return other_->link_.health().in(fmt::format(
      "stage {}: link to stage {}, while {} {} of step {} {} stage {}", options_.stage,
      other_->options_.neighbour, sending ? "sending" : "receiving", link::kind_name(message.kind),
      message.step, sending ? "to" : "from", options_.neighbour));
}

void Channel::abort(uint64_t step, const std::string& why, bool is_final) noexcept try {
  link::Frame frame;
  frame.header.kind = link::Kind::kAbort;
  frame.header.packing = is_final ? link::kFinalAbort : 0;
  frame.header.boundary = static_cast<uint16_t>(options_.boundary);
  frame.header.step = step;
  const std::string text = why.substr(0, link::kMaxAbortBytes);
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  frame.payload.assign(first, first + text.size());
  frame.header.payload_bytes = frame.payload.size();
  const Deadline deadline = in_seconds(is_final ? kFinalAbortSeconds : kAbortSeconds);
  if (link_.send(std::move(frame), deadline).is_ok()) (void)link_.flush(deadline);
} catch (const std::exception&) {
  // The neighbour will notice the silence instead.
}

std::string Channel::where(const Message& message, bool sending) const {
  return fmt::format("stage {}: {} {} of step {}, micro-batch {}, {} stage {}", options_.stage,
                     sending ? "sending" : "receiving", link::kind_name(message.kind), message.step,
                     message.micro_batch, sending ? "to" : "from", options_.neighbour);
}

}  // namespace mapl::pipeline
