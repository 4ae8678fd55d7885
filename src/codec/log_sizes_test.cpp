#include "codec/log_sizes.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>

namespace mapl::codec {
namespace {

at::Tensor back(const at::Tensor& size_N) {
  const Bytes bytes = pack_log_sizes(size_N);
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), log_size_bytes(size_N.numel()));
  return unpack_log_sizes(bytes, size_N.numel()).value();
}

TEST(LogSizes, AreOffByHalfASixteenthOfAnOctaveAtMost) {
  const at::Tensor sizes = torch::exp2(torch::rand({1000}) * 31 - 40);
  const at::Tensor ratio = back(sizes).log2() - sizes.log2();
  // Half a step of an eighth of an octave, and float32 logarithms.
  EXPECT_LE(ratio.abs().max().item<double>(), 1.0 / 16 + 1e-5);
}

TEST(LogSizes, TheLargestAndZeroAreExact) {
  const at::Tensor sizes = torch::tensor({0.0F, 3.3F, 1e-30F, 3.3F / 2});
  EXPECT_TRUE(torch::equal(back(sizes), torch::tensor({0.0F, 3.3F, 0.0F, 3.3F / 2})));
  EXPECT_TRUE(torch::equal(back(torch::zeros({3})), torch::zeros({3})));
  EXPECT_EQ(back(torch::empty({0})).numel(), 0);
}

TEST(LogSizes, ExampleOfTheDocs) {
  const Bytes expected = {std::byte{0}, std::byte{0},    std::byte{0},    std::byte{0x40},
                          std::byte{0}, std::byte{0xFF}, std::byte{0xF7}, std::byte{0xF3}};
  EXPECT_EQ(pack_log_sizes(torch::tensor({0.0F, 2.0F, 1.0F, 0.7071F})), expected);
}

TEST(LogSizes, WhatCannotBeIsRefused) {
  Bytes bytes = pack_log_sizes(torch::tensor({1.0F, 2.0F}));
  EXPECT_FALSE(unpack_log_sizes(bytes, 3).is_ok());
  for (float bad : {-1.0F, std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::memcpy(bytes.data(), &bad, sizeof(bad));
    EXPECT_EQ(unpack_log_sizes(bytes, 2).status().code(), Code::kCorrupt) << bad;
  }
}

}  // namespace
}  // namespace mapl::codec
