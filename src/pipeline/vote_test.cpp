#include "pipeline/vote.h"

#include <gtest/gtest.h>

namespace mapl::pipeline {
namespace {

Vote some_vote() {
  Vote vote{.squared_norm = 2.5, .loss = 3.25, .state_hash = 77, .wants_stop = true};
  vote.reports = {{.squared_norm = 1, .traffic = {.sync_bytes = 9}}, {.energy_kept = 0.5}};
  return vote;
}

TEST(Vote, ComesBackFromItsDeclaredBytes) {
  const Bytes bytes = encode(some_vote());
  ASSERT_EQ(static_cast<int64_t>(bytes.size()), vote_bytes(2));
  const auto vote = decode_vote(bytes, 2);
  ASSERT_TRUE(vote.is_ok());
  EXPECT_EQ(vote.value().squared_norm, 2.5);
  EXPECT_EQ(vote.value().loss, 3.25);
  EXPECT_EQ(vote.value().state_hash, 77u);
  EXPECT_TRUE(vote.value().wants_stop);
  EXPECT_EQ(vote.value().reports[0].traffic.sync_bytes, 9);
  EXPECT_EQ(vote.value().reports[1].energy_kept, 0.5);
}

TEST(Vote, AnotherLengthIsRefused) {
  Bytes bytes = encode(some_vote());
  EXPECT_FALSE(decode_vote(bytes, 1).is_ok());
  EXPECT_FALSE(decode_vote(bytes, 3).is_ok());
  bytes.pop_back();
  EXPECT_EQ(decode_vote(bytes, 2).status().code(), Code::kCorrupt);
}

TEST(Commit, ComesBackFromItsDeclaredBytes) {
  const Bytes bytes = encode(Commit{.squared_norm = 4, .loss = 1.5, .stop = true});
  ASSERT_EQ(static_cast<int64_t>(bytes.size()), kCommitBytes);
  const auto commit = decode_commit(bytes);
  ASSERT_TRUE(commit.is_ok());
  EXPECT_EQ(commit.value().squared_norm, 4);
  EXPECT_EQ(commit.value().loss, 1.5);
  EXPECT_TRUE(commit.value().stop);
  EXPECT_FALSE(decode_commit(ByteSpan(bytes).first(23)).is_ok());
}

}  // namespace
}  // namespace mapl::pipeline
