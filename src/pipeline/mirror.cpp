#include "pipeline/mirror.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace mapl::pipeline {
namespace {

constexpr size_t kCopies = 2;
constexpr int64_t kWordBytes = 8;  // an announcement: the size; a fetch: 1 for "send it"

Bytes word(uint64_t value) {
  Bytes bytes;
  append(bytes, value);
  return bytes;
}

Status send_state(Channel& channel, uint64_t finished, ByteSpan state) {
  Channel::Message message{.kind = link::Kind::kState, .step = finished};
  Status status = channel.send(message, word(state.size()));
  while (!state.empty() && status.is_ok()) {
    const ByteSpan piece = state.first(std::min<size_t>(kStatePieceBytes, state.size()));
    state = state.subspan(piece.size());
    ++message.micro_batch;
    status = channel.send(message, Bytes(piece.begin(), piece.end()));
  }
  return status;
}

}  // namespace

Mirror::Mirror(const Options& options)
    : options_(options),
      own_{.stage = options.stage, .max_bytes = options.max_own_bytes},
      of_prev_{.stage = options.stage - 1, .max_bytes = options.max_prev_bytes},
      of_next_{.stage = options.stage + 1, .max_bytes = options.max_next_bytes} {
  MAPL_CHECK(options.num_stages >= 2, "a stage that is alone has no keeper");
}

void Mirror::connect(Channel* prev, Channel* next) {
  prev_ = prev;
  next_ = next;
}

Status Mirror::exchange(uint64_t finished, Bytes own) {
  own_.add(finished, std::move(own));
  return with_each(
      [&](Channel& keeper) { return send_state(keeper, finished, own_.copies.back().bytes); },
      [&](Channel& owner, Copies& kept) { return recv_state(owner, finished, kept); });
}

Status Mirror::compare() {
  const Channel::Message message{.kind = link::Kind::kKept};
  return with_each(
      [&](Channel& keeper) {
        const auto bytes = keeper.recv_at_most(message, kCopies * kWordBytes);
        if (!bytes.is_ok()) return bytes.status();
        const auto steps = decode_offer(bytes.value());
        if (steps.is_ok()) kept_ = steps.value();
        return steps.status();
      },
      [&](Channel& owner, Copies& kept) {
        Steps steps;
        for (const Copy& copy : kept.copies) steps.push_back(copy.finished);
        return owner.send(message, encode_offer(steps));
      });
}

Steps Mirror::steps() const {
  Steps steps = kept_;
  for (const Copy& copy : own_.copies) steps.push_back(copy.finished);
  return steps;
}

Status Mirror::fetch(uint64_t finished, bool lacks) {
  const Channel::Message message{.kind = link::Kind::kFetch, .step = finished};
  const bool asks = lacks && own(finished) == nullptr;
  const Status status = with_each(
      [&](Channel& keeper) {
        const Status sent = keeper.send(message, word(asks));
        return sent.is_ok() && asks ? recv_state(keeper, finished, own_) : sent;
      },
      [&](Channel& owner, Copies& kept) {
        const auto bytes = owner.recv(message, kWordBytes);
        if (!bytes.is_ok() || read_at<uint64_t>(bytes.value(), 0) == 0) return bytes.status();
        const Bytes* state = kept.find(finished);
        if (state != nullptr) return send_state(owner, finished, *state);
        return Status(Code::kCorrupt, fmt::format("stage {} asks for its state after {} steps, "
                                                  "which it was not told is kept here",
                                                  kept.stage, finished));
      });
  for (Copies* copies : {&own_, &of_prev_, &of_next_}) copies->drop_after(finished);
  return status;
}

const Bytes* Mirror::own(uint64_t finished) const { return own_.find(finished); }

const Bytes* Mirror::Copies::find(uint64_t finished) const {
  const auto found = std::find_if(copies.begin(), copies.end(),
                                  [&](const Copy& copy) { return copy.finished == finished; });
  return found == copies.end() ? nullptr : &found->bytes;
}

void Mirror::Copies::add(uint64_t finished, Bytes bytes) {
  std::erase_if(copies, [&](const Copy& copy) { return copy.finished >= finished; });
  copies.push_back({finished, std::move(bytes)});
  if (copies.size() > kCopies) copies.pop_front();
}

void Mirror::Copies::drop_after(uint64_t finished) {
  std::erase_if(copies, [&](const Copy& copy) { return copy.finished > finished; });
}

// WHY in this order: even stages deal with the one after them first and odd stages with the one
// before, so that every second pair is at it at once and then the others; a long row takes no
// longer than a short one. The last, which has nobody after it, comes back to the one before in the
// end.
Status Mirror::with_each(const std::function<Status(Channel& keeper)>& as_owner,
                         const std::function<Status(Channel& owner, Copies& kept)>& as_keeper) {
  const auto with_next = [&] { return is_last() ? Status::ok() : as_owner(*next_); };
  const auto with_prev = [&] {
    return prev_ == nullptr ? Status::ok() : as_keeper(*prev_, of_prev_);
  };
  const bool is_even = options_.stage % 2 == 0;
  Status status = is_even ? with_next() : with_prev();
  if (status.is_ok()) status = is_even ? with_prev() : with_next();
  if (status.is_ok() && is_last()) status = as_owner(*prev_);
  const bool next_is_last = options_.stage + 2 == options_.num_stages;
  if (status.is_ok() && next_is_last) status = as_keeper(*next_, of_next_);
  return status;
}

Status Mirror::recv_state(Channel& channel, uint64_t finished, Copies& kept) {
  Channel::Message message{.kind = link::Kind::kState, .step = finished};
  const auto announcement = channel.recv(message, kWordBytes);
  if (!announcement.is_ok()) return announcement.status();
  const auto size = read_at<uint64_t>(announcement.value(), 0);
  if (size > static_cast<uint64_t>(kept.max_bytes)) {
    return {Code::kCorrupt,
            fmt::format("a state of stage {} with {} bytes is announced; it has at most {}",
                        kept.stage, size, kept.max_bytes)};
  }
  Bytes state;
  state.reserve(size);
  while (state.size() < size) {
    ++message.micro_batch;
    const auto piece = channel.recv(
        message, std::min<int64_t>(kStatePieceBytes, static_cast<int64_t>(size - state.size())));
    if (!piece.is_ok()) return piece.status();
    state.insert(state.end(), piece.value().begin(), piece.value().end());
  }
  kept.add(finished, std::move(state));
  return Status::ok();
}

}  // namespace mapl::pipeline
