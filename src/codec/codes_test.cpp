#include "codec/codes.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace mapl::codec {
namespace {

TEST(Codes, ComeBackAtEveryWidth) {
  for (int64_t vocab :
       {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{256}, int64_t{257}, int64_t{4096},
        int64_t{32000}, int64_t{65536}, int64_t{50257}, int64_t{1} << 31}) {
    for (int64_t count : {0, 1, 7, 8, 129, 1000}) {
      at::Tensor ids = torch::randint(0, vocab, {count}, torch::kLong);
      if (count > 0) ids[count - 1] = vocab - 1;
      const Bytes bytes = pack_codes(ids, vocab);
      EXPECT_EQ(static_cast<int64_t>(bytes.size()), code_bytes(count, vocab));
      const auto back = unpack_codes(bytes, count, vocab, "token id");
      ASSERT_TRUE(back.is_ok()) << vocab << " " << count;
      EXPECT_TRUE(torch::equal(back.value(), ids)) << vocab << " " << count;
    }
  }
}

TEST(Codes, TakeTheCeilingOfTheLogarithm) {
  EXPECT_EQ(code_bytes(8, 4096), 12);  // 12 bits each
  EXPECT_EQ(code_bytes(8, 4097), 13);  // 13 bits each
  EXPECT_EQ(code_bytes(257, 32000), (257 * 15 + 7) / 8);
  EXPECT_EQ(code_bytes(100, 1), 0);
}

// Worked by hand, and the example of docs/codecs/packings.md: 5 bits each, first id lowest.
// 1 | 2 << 5 | 31 << 10 | 4 << 15 = 0x27C41
TEST(Codes, TheFirstIsInTheLowestBits) {
  const Bytes bytes = pack_codes(torch::tensor({{1, 2}, {31, 4}}, torch::kLong), 32);
  const Bytes expected = {std::byte{0x41}, std::byte{0x7C}, std::byte{0x02}};
  EXPECT_EQ(bytes, expected);
}

TEST(Codes, AWrongLengthIsCorrupt) {
  Bytes bytes = pack_codes(torch::arange(10), 100);
  bytes.push_back({});
  EXPECT_EQ(unpack_codes(bytes, 10, 100, "token id").status().code(), Code::kCorrupt);
  bytes.resize(bytes.size() - 2);
  EXPECT_EQ(unpack_codes(bytes, 10, 100, "token id").status().code(), Code::kCorrupt);
}

TEST(Codes, ACodeBeyondTheirNumberIsCorrupt) {
  const Bytes bytes = pack_codes(torch::tensor({99, 127}, torch::kLong), 128);
  EXPECT_EQ(unpack_codes(bytes, 2, 100, "token id").status().code(), Code::kCorrupt);
}

TEST(Codes, BitsAfterTheLastAreZero) {
  Bytes bytes = pack_codes(torch::tensor({1}, torch::kLong), 32);
  bytes[0] |= std::byte{0x20};
  EXPECT_EQ(unpack_codes(bytes, 1, 32, "token id").status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::codec
