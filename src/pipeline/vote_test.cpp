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

// docs/wire_format.md, section 5.
TEST(Vote, LiesAsThePageSays) {
  Vote vote{.squared_norm = 1, .loss = 2, .state_hash = 3, .wants_stop = true};
  vote.reports = {{.squared_norm = 10,
                   .energy_kept = 11,
                   .orthogonality_error = 12,
                   .basis_angle = 13,
                   .activation_usage = 14,
                   .gradient_usage = 15,
                   .activation_error = 16,
                   .gradient_error = 17,
                   .compute_seconds = 18,
                   .waited_seconds = 19,
                   .sending_seconds = 20,
                   .peak_rss_bytes = 21,
                   .num_parameters = 22,
                   .traffic = {.activation_bytes = 23,
                               .gradient_bytes = 24,
                               .token_id_bytes = 25,
                               .sync_bytes = 26,
                               .header_bytes = 27}}};
  Bytes expected;
  append(expected, 1.0);
  append(expected, 2.0);
  append(expected, uint64_t{3});
  append(expected, uint64_t{1});
  for (int number = 10; number <= 20; ++number) append(expected, static_cast<double>(number));
  for (int64_t number = 21; number <= 27; ++number) append(expected, number);
  EXPECT_EQ(encode(vote), expected);
}

TEST(Vote, AnotherLengthIsRefused) {
  Bytes bytes = encode(some_vote());
  EXPECT_FALSE(decode_vote(bytes, 1).is_ok());
  EXPECT_FALSE(decode_vote(bytes, 3).is_ok());
  bytes.pop_back();
  EXPECT_EQ(decode_vote(bytes, 2).status().code(), Code::kCorrupt);
}

TEST(Commit, LiesAsThePageSays) {
  Bytes expected(24);
  expected[6] = std::byte{0xd0};
  expected[7] = std::byte{0x3f};
  expected[14] = std::byte{0x04};
  expected[15] = std::byte{0x40};
  expected[16] = std::byte{1};
  EXPECT_EQ(encode(Commit{.squared_norm = 0.25, .loss = 2.5, .stop = true}), expected);
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
