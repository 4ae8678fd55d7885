#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <bit>
#include <cmath>
#include <limits>

#include "codec/packing.h"

namespace mapl::codec {
namespace {

at::Tensor round_trip(Packing& packing, const at::Tensor& x, const MessageKey& key = {}) {
  return packing.unpack(packing.pack(x, key), x.size(0), x.size(1), key).value();
}

float scale_at(const Bytes& bytes, int64_t group) {
  return std::bit_cast<float>(uint32_t{read_at<uint16_t>(bytes, 2 * group)} << 16);
}

TEST(PackingInt8, TheLayoutIsScalesThenCodes) {
  const auto packing = make_packing("int8", {.group_size = 2});
  const Bytes bytes =
      packing->pack(torch::tensor({{127.0F, -1.0F, 254.0F}, {0.0F, 0.0F, -63.5F}}), {});
  ASSERT_EQ(bytes.size(), 2U * (2 * 2 + 3));
  EXPECT_EQ(scale_at(bytes, 0), 1.0F);
  EXPECT_EQ(scale_at(bytes, 1), 2.0F);
  EXPECT_EQ(scale_at(bytes, 2), 0.0F);
  EXPECT_EQ(scale_at(bytes, 3), 0.5F);
  const int8_t expected[] = {127, -1, 127, 0, 0, -127};
  EXPECT_EQ(std::memcmp(bytes.data() + 8, expected, sizeof(expected)), 0);
}

// Nearest: no value is further than half a scale from what was sent, and the scale is that of its
// own group: at most 1/128 above absmax / 127.
TEST(PackingInt8, EachValueIsWithinHalfAStepOfItsGroup) {
  for (int64_t columns : {1, 5, 64, 100}) {
    for (int64_t group : {int64_t{1}, int64_t{7}, int64_t{64}, INT64_MAX}) {
      const auto packing = make_packing("int8", {.group_size = group});
      const at::Tensor x = torch::randn({40, columns}) * torch::logspace(-30, 30, 40).unsqueeze(1);
      const at::Tensor back = round_trip(*packing, x);
      for (int64_t first = 0; first < columns; first += std::min(group, columns)) {
        const int64_t end = first + std::min(group, columns - first);
        const at::Tensor part = x.slice(1, first, end).to(torch::kDouble);
        const at::Tensor step = part.abs().amax(1, true) / 127 * (1 + 1.0 / 128);
        const at::Tensor error = (back.slice(1, first, end).to(torch::kDouble) - part).abs();
        // 1e-5: x * (1 / scale) is rounded twice before the code is.
        EXPECT_TRUE((error <= step * (0.5 + 1e-5)).all().item<bool>()) << columns << " " << group;
      }
    }
  }
}

TEST(PackingInt8, TiesGoToTheEvenCode) {
  const auto packing = make_packing("int8", {.group_size = 8});
  const at::Tensor x = torch::tensor({{127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 126.5F}});
  const at::Tensor expected =
      torch::tensor({{127.0F, 0.0F, 2.0F, 2.0F, 0.0F, -2.0F, -2.0F, 126.0F}});
  EXPECT_TRUE(torch::equal(round_trip(*packing, x), expected));
}

TEST(PackingInt8, GradientsOfTheOrderOfOneOverABatchKeepTheirPrecision) {
  const auto packing = make_packing("int8", {.leg = Leg::kActivation});
  const at::Tensor x = torch::randn({8, 64}) * 1e-9;
  EXPECT_LT(((round_trip(*packing, x) - x).norm() / x.norm()).item<double>(), 0.02);
}

TEST(PackingInt8, NumbersBelowTheNormalRangeAreSentAsZero) {
  const auto packing = make_packing("int8", {});
  const at::Tensor x = torch::full({1, 64}, std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(round_trip(*packing, x).count_nonzero().item<int64_t>(), 0);
}

TEST(PackingInt8, TheLargestNumbersAreRefusedNotTurnedIntoInfinity) {
  const auto packing = make_packing("int8", {});
  EXPECT_TRUE(round_trip(*packing, torch::full({1, 64}, 3.3e38F)).isfinite().all().item<bool>());
  EXPECT_THROW(packing->pack(torch::full({1, 64}, std::numeric_limits<float>::max()), {}),
               RunError);
}

class Stochastic : public ::testing::Test {
 protected:
  std::unique_ptr<Packing> packing_ = make_packing("int8", {.leg = Leg::kGradient});
  at::Tensor x_ = torch::randn({16, 64});
};

TEST_F(Stochastic, TheSameKeyGivesTheSameBytesAndEveryOtherKeyOthers) {
  const MessageKey key{.seed = 1, .step = 2, .micro_batch = 3, .boundary = 4};
  const Bytes bytes = packing_->pack(x_, key);
  EXPECT_EQ(packing_->pack(x_, key), bytes);
  for (const MessageKey& other :
       {MessageKey{2, 2, 3, 4}, MessageKey{1, 3, 3, 4}, MessageKey{1, 2, 4, 4},
        MessageKey{1, 2, 3, 5}, MessageKey{1, 2, 4, 3}, MessageKey{2, 1, 3, 4}}) {
    EXPECT_NE(packing_->pack(x_, other), bytes);
  }
}

// The noise of an element depends on its place, not on what else is sent.
TEST_F(Stochastic, ARowsCodesDoNotDependOnTheRowsAfterIt) {
  const at::Tensor some = round_trip(*packing_, x_.slice(0, 0, 5));
  EXPECT_TRUE(torch::equal(round_trip(*packing_, x_).slice(0, 0, 5), some));
}

TEST_F(Stochastic, WholeCodesAreExact) {
  // Scale 1: 127 whole codes of either sign, each with many draws of u.
  const at::Tensor codes = torch::arange(-127, 128, torch::kFloat).repeat({64, 1});
  const auto packing = make_packing("int8", {.leg = Leg::kGradient, .group_size = 255});
  for (uint64_t step = 0; step < 32; ++step) {
    EXPECT_TRUE(torch::equal(round_trip(*packing, codes, {.step = step}), codes));
  }
}

TEST_F(Stochastic, NeighbouringCodesOnly) {
  const at::Tensor error = (round_trip(*packing_, x_) - x_).abs();
  const at::Tensor step = x_.abs().amax(1, true) / 127 * (1 + 1.0 / 128);
  EXPECT_TRUE((error < step * (1 + 1e-5)).all().item<bool>());
}

// 20000 draws of each of 64 fractions k/64 of a step: the mean error of a fraction f has the
// deviation sqrt(f (1 - f) / 20000) <= 0.0036 steps; five of those bound every fraction, and over
// all of them the mean, of deviation 0.0003, shows a bias of a thousandth of a step. (The noise is
// fixed: no chance.)
TEST_F(Stochastic, TheMeanIsTheValue) {
  at::Tensor row = torch::arange(64, torch::kFloat) / 64 + 5;
  row[63] = 127;  // scale 1
  const at::Tensor x = row.repeat({20000, 1});
  const at::Tensor mean = round_trip(*packing_, x, {.seed = 11}).mean(0, false, torch::kDouble);
  const at::Tensor error = mean - row.to(torch::kDouble);
  EXPECT_LT(error.abs().max().item<double>(), 5 * 0.0036);
  EXPECT_LT(std::abs(error.mean().item<double>()), 0.0015);
  const at::Tensor negative =
      round_trip(*packing_, -x, {.seed = 12}).mean(0, false, torch::kDouble);
  EXPECT_LT((negative + row).abs().max().item<double>(), 5 * 0.0036);
}

// Two elements share no noise: were they equal, their errors would be one.
TEST_F(Stochastic, ErrorsOfDifferentElementsAreNotCorrelated) {
  at::Tensor x = torch::full({4000, 64}, 0.5F);
  x.select(1, 63).fill_(127);
  const at::Tensor e = (round_trip(*packing_, x) - 0.5).slice(1, 0, 63).to(torch::kDouble);
  const at::Tensor covariance = (e.t().mm(e) / 4000 - torch::eye(63, torch::kDouble) / 4).abs();
  EXPECT_LT(covariance.max().item<double>(), 0.025);  // deviation 0.25 / sqrt(4000) = 0.004
  const at::Tensor some = e.slice(0, 0, 1000);
  const at::Tensor rows = (some.mm(some.t()) / 63).fill_diagonal_(0).abs();
  EXPECT_LT(rows.max().item<double>(), 0.22);  // deviation 0.0315, half a million pairs
}

TEST(PackingInt8, ImpossibleBytesAreCorrupt) {
  const auto packing = make_packing("int8", {.group_size = 4});
  const Bytes good = packing->pack(torch::ones({2, 6}), {});
  ASSERT_TRUE(packing->unpack(good, 2, 6, {}).is_ok());
  for (uint16_t scale :
       {0x8000, 0xBF80, 0x7F80, 0x7FC0, 0x7F00}) {  // -0, -1, infinity, NaN, 1.7e38
    Bytes bytes = good;
    std::memcpy(bytes.data() + 2, &scale, 2);
    EXPECT_EQ(packing->unpack(bytes, 2, 6, {}).status().code(), Code::kCorrupt) << scale;
  }
  for (size_t code = 8; code < good.size(); ++code) {
    Bytes bytes = good;
    bytes[code] = std::byte{0x80};
    EXPECT_EQ(packing->unpack(bytes, 2, 6, {}).status().code(), Code::kCorrupt) << code;
  }
}

TEST(PackingInt4, TwoCodesShareAByteAndAnOddRowEndsWithAnEmptyHalf) {
  const auto packing = make_packing("int4", {.group_size = 3});
  const Bytes bytes = packing->pack(torch::tensor({{7.0F, -1.0F, -7.0F}, {2.0F, 14.0F, 0.0F}}), {});
  ASSERT_EQ(bytes.size(), 2U * (2 + 2));
  EXPECT_EQ(scale_at(bytes, 0), 1.0F);
  EXPECT_EQ(scale_at(bytes, 1), 2.0F);
  const unsigned char expected[] = {0xF7, 0x09, 0x71, 0x00};
  EXPECT_EQ(std::memcmp(bytes.data() + 4, expected, sizeof(expected)), 0);
  EXPECT_EQ(static_cast<int64_t>(bytes.size()), packing->packed_bytes(2, 3));
}

// Widths whose codes share bytes.
class PackingShort : public ::testing::TestWithParam<int> {
 protected:
  std::string name() const { return fmt::format("int{}", GetParam()); }
  int max_code() const { return (1 << (GetParam() - 1)) - 1; }
};

TEST_P(PackingShort, EachValueIsWithinHalfAStepOfItsGroup) {
  for (int64_t columns : {1, 5, 8, 64, 100}) {
    const auto packing = make_packing(name(), {.group_size = 7});
    const at::Tensor x = torch::randn({40, columns});
    const Bytes bytes = packing->pack(x, {});
    EXPECT_EQ(static_cast<int64_t>(bytes.size()),
              40 * ((columns * GetParam() + 7) / 8 + 2 * ((columns + 6) / 7)));
    const at::Tensor back = round_trip(*packing, x);
    for (int64_t first = 0; first < columns; first += 7) {
      const at::Tensor part = x.slice(1, first, first + 7);
      const at::Tensor step = part.abs().amax(1, true) / max_code() * (1 + 1.0 / 128);
      EXPECT_TRUE(((back.slice(1, first, first + 7) - part).abs() <= step * (0.5 + 1e-5))
                      .all()
                      .item<bool>());
    }
  }
}

// Every code there is, and the one that is not: that of the largest magnitude, below zero.
TEST_P(PackingShort, EveryCodeComesBackAndNoOtherIsTaken) {
  const auto packing = make_packing(name(), {});
  const int64_t columns = 2 * max_code() + 1;
  const at::Tensor x = torch::arange(-max_code(), max_code() + 1, torch::kFloat).view({1, -1});
  const Bytes good = packing->pack(x, {});
  EXPECT_TRUE(torch::equal(packing->unpack(good, 1, columns, {}).value(), x));
  Bytes impossible = good;
  impossible[2] = static_cast<std::byte>(
      (std::to_integer<int>(good[2]) & ~((1 << GetParam()) - 1)) | 1 << (GetParam() - 1));
  EXPECT_EQ(packing->unpack(impossible, 1, columns, {}).status().code(), Code::kCorrupt);
  Bytes behind = good;
  behind.back() |= std::byte{0x80};  // an odd number of codes leaves a bit at the end of each width
  EXPECT_EQ(packing->unpack(behind, 1, columns, {}).status().code(), Code::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(Widths, PackingShort, ::testing::Values(4, 5, 6),
                         [](const auto& info) { return fmt::format("Int{}", info.param); });

TEST(PackingInt5, CodesFollowOneAnotherFromTheLowestBits) {
  const auto packing = make_packing("int5", {});
  const Bytes bytes = packing->pack(torch::tensor({{15.0F, -1.0F, 1.0F}}), {});
  ASSERT_EQ(bytes.size(), 4U);
  EXPECT_EQ(scale_at(bytes, 0), 1.0F);
  const unsigned char expected[] = {0xEF, 0x07};  // 00001 11111 01111
  EXPECT_EQ(std::memcmp(bytes.data() + 2, expected, sizeof(expected)), 0);
}

// The mean over many messages is the value: 4,000 draws of a step of 1/7 have a standard error of
// 0.0011; five of them.
TEST(PackingInt4, TheGradientLegIsUnbiased) {
  const auto packing = make_packing("int4", {.leg = Leg::kGradient});
  const at::Tensor x = torch::tensor({{1.0F, 0.5F, -0.3F, 0.01F}});
  at::Tensor sum = torch::zeros_like(x);
  for (uint64_t step = 0; step < 4000; ++step) sum += round_trip(*packing, x, {.step = step});
  EXPECT_LT((sum / 4000 - x).abs().max().item<double>(), 5.5e-3);
}

TEST(PackingInt4, ImpossibleCodesAndPaddingAreCorrupt) {
  const auto packing = make_packing("int4", {});
  const Bytes good = packing->pack(torch::tensor({{7.0F, -1.0F, -7.0F}}), {});
  ASSERT_TRUE(packing->unpack(good, 1, 3, {}).is_ok());
  for (const auto& [at, value] : {std::pair(2, 0x87), std::pair(3, 0x19)}) {
    Bytes bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    EXPECT_EQ(packing->unpack(bytes, 1, 3, {}).status().code(), Code::kCorrupt) << at;
  }
}

// Against the matrix itself: what a message would say is the row turned by H / 2, and back.
TEST(PackingHadamard, TurnsEachGroupByTheMatrix) {
  const at::Tensor h = torch::tensor({{1.0F, 1.0F, 1.0F, 1.0F},
                                      {1.0F, -1.0F, 1.0F, -1.0F},
                                      {1.0F, 1.0F, -1.0F, -1.0F},
                                      {1.0F, -1.0F, -1.0F, 1.0F}}) /
                       2;
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor turned = torch::cat({x.slice(1, 0, 4).mm(h), x.slice(1, 4, 8).mm(h)}, 1);
  const auto plain = make_packing("int8", {.group_size = 4});
  const auto packing = make_packing("int8", {.group_size = 4, .hadamard = true});
  const at::Tensor expected = round_trip(*plain, turned);
  const at::Tensor back = round_trip(*packing, x);
  const at::Tensor again = torch::cat({back.slice(1, 0, 4).mm(h), back.slice(1, 4, 8).mm(h)}, 1);
  // A code next to a tie may fall to the other side: one step of 1/127 of the largest.
  EXPECT_LT((again - expected).abs().max().item<double>(),
            1.1 * turned.abs().max().item<double>() / 127);
  EXPECT_LT((back - x).norm().item<double>(), 0.02 * x.norm().item<double>());
}

TEST(PackingHadamard, AnOutlierCostsLess) {
  at::Tensor x = torch::randn({50, 64});
  x.select(1, 3).mul_(40);
  const auto error = [&](bool hadamard) {
    const auto packing = make_packing("int4", {.group_size = 64, .hadamard = hadamard});
    const at::Tensor others = (round_trip(*packing, x) - x).slice(1, 4, 64);
    return others.norm().item<double>();
  };
  EXPECT_LT(error(true), 0.9 * error(false));
}

}  // namespace
}  // namespace mapl::codec
