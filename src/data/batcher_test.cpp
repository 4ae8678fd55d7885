#include "data/batcher.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/status.h"
#include "data/scratch.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

constexpr int64_t kLength = 10;

class BatcherTest : public testing::Test {
 protected:
  // Shard s holds the ids 1000 s, 1000 s + 1, ... so that an id says where it comes from.
  std::vector<std::string> shards(const std::vector<int>& sizes) {
    for (size_t s = 0; s < sizes.size(); ++s) {
      std::vector<int> ids(sizes[s]);
      std::iota(ids.begin(), ids.end(), static_cast<int>(1000 * s));
      ShardWriter writer(scratch_.path("s" + std::to_string(s)), 100'000);
      writer.append(ids);
      writer.finish();
    }
    return find_shards(scratch_.path("s*.bin"));
  }

  Scratch scratch_;
};

std::vector<int64_t> take(Batcher& batcher, int64_t count) {
  std::vector<int64_t> ids(count * (kLength + 1), -1);
  batcher.next(count, ids);
  return ids;
}

// The first id of each sample.
std::vector<int64_t> starts(Batcher& batcher, int64_t count) {
  const std::vector<int64_t> ids = take(batcher, count);
  std::vector<int64_t> firsts;
  for (int64_t i = 0; i < count; ++i) firsts.push_back(ids[i * (kLength + 1)]);
  return firsts;
}

constexpr Batcher::Options kOptions{.sequence_length = kLength, .vocab_size = 4096, .seed = 3};

TEST_F(BatcherTest, EveryEpochHasEveryWindowOnce) {
  // 101 tokens: 10 windows, the last token only a target. 100: 9 windows. 5: none. 11: one.
  Batcher batcher(shards({101, 100, 5, 11}), kOptions);
  EXPECT_EQ(batcher.num_windows(), 20);
  EXPECT_EQ(batcher.samples_per_epoch(), 20);
  std::vector<int64_t> expected;
  for (int64_t w = 0; w < 10; ++w) expected.push_back(w * kLength);
  for (int64_t w = 0; w < 9; ++w) expected.push_back(1000 + w * kLength);
  expected.push_back(3000);
  std::vector<std::vector<int64_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<int64_t> order = starts(batcher, 20);
    orders.push_back(order);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, expected);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  EXPECT_NE(orders[0], expected);
}

TEST_F(BatcherTest, AWindowIsConsecutiveTokensOfOneShard) {
  Batcher batcher(shards({101, 57}), kOptions);
  const std::vector<int64_t> ids = take(batcher, 15);
  for (int64_t i = 0; i < 15; ++i) {
    for (int64_t t = 0; t <= kLength; ++t) {
      EXPECT_EQ(ids[i * (kLength + 1) + t], ids[i * (kLength + 1)] + t);
    }
  }
}

TEST_F(BatcherTest, ThePositionIsAllThatMatters) {
  const auto paths = shards({501, 230});
  Batcher whole(paths, kOptions);
  const std::vector<int64_t> expected = starts(whole, 200);  // 72 windows: almost three epochs
  EXPECT_EQ(whole.position(), 200u);

  Batcher pieces(paths, kOptions);
  std::vector<int64_t> got;
  for (const int64_t count : {1, 70, 3, 0, 126}) {
    for (const int64_t start : starts(pieces, count)) got.push_back(start);
  }
  EXPECT_EQ(got, expected);

  Batcher resumed(paths, kOptions);
  resumed.seek(71);
  EXPECT_EQ(starts(resumed, 129), std::vector<int64_t>(expected.begin() + 71, expected.end()));
}

TEST_F(BatcherTest, AnotherSeedIsAnotherOrder) {
  const auto paths = shards({501});
  Batcher one(paths, {.sequence_length = kLength, .seed = 1});
  Batcher two(paths, {.sequence_length = kLength, .seed = 2});
  EXPECT_NE(starts(one, 50), starts(two, 50));
}

TEST_F(BatcherTest, SpreadWindowsAreEvenlyApartAndRepeat) {
  const auto paths = shards({501, 501});  // 100 windows
  Batcher batcher(paths, {.sequence_length = kLength, .spread = 4});
  EXPECT_EQ(batcher.samples_per_epoch(), 4);
  EXPECT_EQ(starts(batcher, 6), (std::vector<int64_t>{0, 250, 1000, 1250, 0, 250}));
  Batcher all(paths, {.sequence_length = kLength, .spread = 1000});
  EXPECT_EQ(all.samples_per_epoch(), 100);
}

TEST_F(BatcherTest, RefusesAnIdBeyondTheVocabularyAndStays) {
  Batcher batcher(shards({101}), {.sequence_length = kLength, .vocab_size = 57, .spread = 10});
  take(batcher, 5);  // ids 0..50
  std::vector<int64_t> ids(kLength + 1);
  const std::string message = message_of<UserError>([&] { batcher.next(1, ids); });
  EXPECT_THAT(message, HasSubstr("s0_0000.bin: id 57 at token 57 (byte 1138)"));
  EXPECT_EQ(batcher.position(), 5u);
}

TEST_F(BatcherTest, RefusesASetTooSmallForOneWindow) {
  const auto paths = shards({10, 7});
  const std::string message = message_of<UserError>([&] { Batcher batcher(paths, kOptions); });
  EXPECT_THAT(message, HasSubstr("takes 11 tokens"));
  EXPECT_THAT(message, HasSubstr(paths[0]));
  EXPECT_THAT(message, HasSubstr("holds 10"));
}

TEST_F(BatcherTest, RefusesABadShard) {
  EXPECT_THAT(message_of<UserError>([&] { Batcher({scratch_.path("none.bin")}, kOptions); }),
              HasSubstr("none.bin"));
}

}  // namespace
}  // namespace mapl::data
