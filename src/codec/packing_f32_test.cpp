#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

#include "codec/packing.h"

namespace mapl::codec {
namespace {

TEST(PackingF32, EveryBitComesBack) {
  const auto packing = make_packing("f32", {});
  at::Tensor x = torch::randn({5, 7});
  x[0][0] = -0.0F;
  x[0][1] = std::numeric_limits<float>::denorm_min();
  x[0][2] = std::numeric_limits<float>::max();
  const Bytes bytes = packing->pack(x, {});
  EXPECT_EQ(bytes.size(), 4U * 35);
  const auto back = packing->unpack(bytes, 5, 7, {});
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(std::memcmp(back.value().data_ptr(), x.data_ptr(), bytes.size()), 0);
}

TEST(PackingF32, BytesAreLittleEndianRowByRow) {
  const Bytes bytes = make_packing("f32", {})->pack(torch::tensor({{1.0F, -2.0F}}), {});
  const unsigned char expected[] = {0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0};
  EXPECT_EQ(std::memcmp(bytes.data(), expected, sizeof(expected)), 0);
}

TEST(PackingF32, NaNInTheBytesIsCorrupt) {
  Bytes bytes;
  append(bytes, 1.0F);
  append(bytes, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(make_packing("f32", {})->unpack(bytes, 1, 2, {}).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::codec
