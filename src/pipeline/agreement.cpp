#include "pipeline/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace mapl::pipeline {

Bytes encode(const Resume& resume) {
  Bytes bytes;
  append(bytes, resume.finished);
  append(bytes, static_cast<uint64_t>(resume.validates));
  const Bytes commit = encode(resume.commit);
  bytes.insert(bytes.end(), commit.begin(), commit.end());
  return bytes;
}

Result<Resume> decode_resume(ByteSpan bytes) {
  if (static_cast<int64_t>(bytes.size()) != kResumeBytes) {
    return Status(Code::kCorrupt,
                  fmt::format("a resume of {} bytes instead of {}", bytes.size(), kResumeBytes));
  }
  const auto commit = decode_commit(bytes.subspan(16));
  if (!commit.is_ok()) return commit.status();
  return Resume{.finished = read_at<uint64_t>(bytes, 0),
                .validates = read_at<uint64_t>(bytes, 8) != 0,
                .commit = commit.value()};
}

Bytes encode_offer(const Steps& steps) {
  Bytes bytes;
  for (const uint64_t step : steps) append(bytes, step);
  return bytes;
}

Result<Steps> decode_offer(ByteSpan bytes) {
  if (bytes.size() % 8 != 0 || static_cast<int64_t>(bytes.size()) > kMaxOfferBytes) {
    return Status(Code::kCorrupt, fmt::format("an offer of {} bytes", bytes.size()));
  }
  Steps steps;
  for (size_t at = 0; at < bytes.size(); at += 8) {
    steps.push_back(read_at<uint64_t>(bytes, at));
    if (steps.size() > 1 && steps.back() <= steps[steps.size() - 2]) {
      return Status(Code::kCorrupt, "an offer whose steps do not ascend");
    }
  }
  return steps;
}

Result<uint64_t> agree(Channel* prev, Channel* next, Steps own) {
  const Channel::Message offer{.kind = link::Kind::kOffer};
  std::sort(own.begin(), own.end());
  own.erase(std::unique(own.begin(), own.end()), own.end());
  // The latest count.
  if (std::ssize(own) > kMaxOffers) own.erase(own.begin(), own.end() - kMaxOffers);
  Steps common = own;
  if (next) {
    const auto bytes = next->recv_at_most(offer, kMaxOfferBytes);
    if (!bytes.is_ok()) return bytes.status();
    const auto theirs = decode_offer(bytes.value());
    if (!theirs.is_ok()) return theirs.status();
    common.clear();
    std::set_intersection(own.begin(), own.end(), theirs.value().begin(), theirs.value().end(),
                          std::back_inserter(common));
  }
  uint64_t chosen = 0;
  if (prev) {
    const Status sent = prev->send(offer, encode_offer(common));
    if (!sent.is_ok()) return sent;
    const auto bytes = prev->recv(offer, sizeof(chosen));
    if (!bytes.is_ok()) return bytes.status();
    chosen = read_at<uint64_t>(bytes.value(), 0);
    if (!std::binary_search(common.begin(), common.end(), chosen)) {
      return Status(Code::kCorrupt,
                    fmt::format("told to go on from step {}, which was not offered", chosen));
    }
  } else if (common.empty()) {
    return Status(Code::kRefused,
                  "there is no step that all stages can go on from: the checkpoints of a stage are "
                  "gone; bring them back, or start a new run from an older one with --init-from");
  } else {
    chosen = common.back();
  }
  if (next) {
    const Status sent = next->send(offer, encode_offer({chosen}));
    if (!sent.is_ok()) return sent;
  }
  return chosen;
}

Result<Resume> pass_on(Channel* prev, Channel* next, uint64_t agreed, const Resume& own) {
  const Channel::Message message{.kind = link::Kind::kResume};
  Resume resume = own;
  if (prev) {
    const auto bytes = prev->recv(message, kResumeBytes);
    if (!bytes.is_ok()) return bytes.status();
    const auto decoded = decode_resume(bytes.value());
    if (!decoded.is_ok()) return decoded.status();
    resume = decoded.value();
  }
  if (resume.finished != agreed) {
    return Status(Code::kCorrupt, fmt::format("a resume from step {}, and step {} was agreed on",
                                              resume.finished, agreed));
  }
  if (next) {
    const Status sent = next->send(message, encode(resume));
    if (!sent.is_ok()) return sent;
  }
  return resume;
}

}  // namespace mapl::pipeline
