#include <gtest/gtest.h>
#include <torch/torch.h>

#include <bit>
#include <limits>

#include "base/rng.h"
#include "codec/packing.h"

namespace mapl::codec {
namespace {

// Against torch's own conversion, on random bit patterns: all exponents, denormals, ties.
TEST(PackingBf16, RoundsAsTorchDoes) {
  std::vector<float> values;
  for (uint64_t i = 0; values.size() < 40000; ++i) {
    for (uint32_t word : philox(3, 0, i)) {
      const uint32_t bits = i % 2 == 0 ? word : (word & 0xFFFF0000) | 0x8000;  // every second a tie
      const auto value = std::bit_cast<float>(bits);
      if (std::abs(value) < 3.38e38F) values.push_back(value);
    }
  }
  values.resize(40000);
  const at::Tensor x = torch::tensor(values).view({200, 200});
  const auto packing = make_packing("bf16", {});
  const Bytes bytes = packing->pack(x, {});
  EXPECT_EQ(bytes.size(), 2U * 40000);
  const auto back = packing->unpack(bytes, 200, 200, {});
  ASSERT_TRUE(back.is_ok());
  const at::Tensor expected = x.to(torch::kBFloat16).to(torch::kFloat);
  EXPECT_EQ(std::memcmp(back.value().data_ptr(), expected.data_ptr(), expected.nbytes()), 0);
}

TEST(PackingBf16, ValuesThatWouldRoundToInfinityAreRefused) {
  const auto packing = make_packing("bf16", {});
  const auto largest = std::bit_cast<float>(0x7F7F7FFFU);  // the last float32 that rounds down
  EXPECT_NO_THROW(packing->pack(torch::full({1, 3}, largest), {}));
  EXPECT_THROW(packing->pack(torch::full({1, 3}, std::bit_cast<float>(0x7F7F8000U)), {}), RunError);
}

TEST(PackingBf16, InfinityInTheBytesIsCorrupt) {
  Bytes bytes;
  append(bytes, uint16_t{0x3F80});
  append(bytes, uint16_t{0xFF80});
  EXPECT_EQ(make_packing("bf16", {})->unpack(bytes, 1, 2, {}).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::codec
