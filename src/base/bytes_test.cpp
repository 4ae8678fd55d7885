#include "base/bytes.h"

#include <gtest/gtest.h>

namespace mapl {
namespace {

TEST(Bytes, ValuesComeBackFromWhereTheyWereWritten) {
  Bytes bytes;
  append<uint16_t>(bytes, 0x0102);
  append<double>(bytes, -1.5);
  ASSERT_EQ(bytes.size(), 10u);
  EXPECT_EQ(bytes[0], std::byte{0x02});  // little-endian
  EXPECT_EQ(read_at<uint16_t>(bytes, 0), 0x0102);
  EXPECT_EQ(read_at<double>(bytes, 2), -1.5);
}

TEST(Bytes, HashDependsOnEveryByteAndOnTheSeed) {
  Bytes bytes(100, std::byte{7});
  const uint64_t before = hash_bytes(bytes);
  EXPECT_NE(before, hash_bytes(bytes, 1));
  bytes[99] = std::byte{8};
  EXPECT_NE(before, hash_bytes(bytes));
  EXPECT_EQ(hash_bytes("", 0), 0x2d06800538d394c2u);  // XXH3's published value of nothing
}

}  // namespace
}  // namespace mapl
