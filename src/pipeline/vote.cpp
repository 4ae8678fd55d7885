#include "pipeline/vote.h"

#include <fmt/format.h>

namespace mapl::pipeline {
namespace {

constexpr int64_t kVoteHeadBytes = 32;

}  // namespace

int64_t vote_bytes(int num_reports) {
  return kVoteHeadBytes + num_reports * static_cast<int64_t>(sizeof(StageReport));
}

Bytes encode(const Vote& vote) {
  Bytes bytes;
  append(bytes, vote.squared_norm);
  append(bytes, vote.loss);
  append(bytes, vote.state_hash);
  append(bytes, static_cast<uint64_t>(vote.wants_stop));
  for (const StageReport& report : vote.reports) append(bytes, report);
  return bytes;
}

Result<Vote> decode_vote(ByteSpan bytes, int num_reports) {
  if (static_cast<int64_t>(bytes.size()) != vote_bytes(num_reports)) {
    return Status(Code::kCorrupt, fmt::format("a vote of {} bytes instead of {}", bytes.size(),
                                              vote_bytes(num_reports)));
  }
  Vote vote;
  vote.squared_norm = read_at<double>(bytes, 0);
  vote.loss = read_at<double>(bytes, 8);
  vote.state_hash = read_at<uint64_t>(bytes, 16);
  vote.wants_stop = read_at<uint64_t>(bytes, 24) != 0;
  for (int i = 0; i < num_reports; ++i) {
    vote.reports.push_back(read_at<StageReport>(
        bytes, static_cast<size_t>(kVoteHeadBytes) + static_cast<size_t>(i) * sizeof(StageReport)));
  }
  return vote;
}

Bytes encode(const Commit& commit) {
  Bytes bytes;
  append(bytes, commit.squared_norm);
  append(bytes, commit.loss);
  append(bytes, static_cast<uint64_t>(commit.stop));
  return bytes;
}

Result<Commit> decode_commit(ByteSpan bytes) {
  if (static_cast<int64_t>(bytes.size()) != kCommitBytes) {
    return Status(Code::kCorrupt,
                  fmt::format("a commit of {} bytes instead of {}", bytes.size(), kCommitBytes));
  }
  return Commit{read_at<double>(bytes, 0), read_at<double>(bytes, 8),
                read_at<uint64_t>(bytes, 16) != 0};
}

}  // namespace mapl::pipeline
