#include "base/rng.h"

#include <gtest/gtest.h>

#include <vector>

namespace mapl {
namespace {

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, GivesThePublishedWords) {
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Rng, SeedsOfTwoNamesDiffer) {
  EXPECT_NE(derive_seed(0, "a"), derive_seed(0, "b"));
  EXPECT_NE(derive_seed(0, "a"), derive_seed(1, "a"));
  EXPECT_EQ(derive_seed(5, "a"), derive_seed(5, "a"));
}

TEST(Permute, VisitsEachIndexOnce) {
  for (const uint64_t count : {1u, 2u, 3u, 64u, 65u, 1000u, 4097u}) {
    std::vector<bool> seen(count, false);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t at = permute(i, count, 42);
      ASSERT_LT(at, count);
      EXPECT_FALSE(seen[at]) << count;
      seen[at] = true;
    }
  }
}

TEST(Permute, DependsOnTheKey) {
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i) same += permute(i, 1000, 1) == permute(i, 1000, 2);
  EXPECT_LT(same, 20);  // one in a thousand each by chance
}

}  // namespace
}  // namespace mapl
