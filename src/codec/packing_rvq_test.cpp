#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "codec/packing.h"
#include "math/rvq.h"

namespace mapl::codec {
namespace {

constexpr int64_t kColumns = 6;

PackingOptions options(bool packs) {
  return {.packs = packs,
          .columns = kColumns,
          .seed = 4,
          .rvq_group_size = 2,
          .rvq_rounds = 2,
          .rvq_normalise = false,
          .rvq_entries = 16,
          .rvq_warmup_steps = 2,
          .rvq_decay = 0.9};
}

// Both ends of a leg, and what crosses.
struct Pipe {
  std::unique_ptr<Packing> packs = make_packing("rvq", options(true));
  std::unique_ptr<Packing> unpacks = make_packing("rvq", options(false));

  at::Tensor cross(const at::Tensor& x, uint64_t step, uint32_t micro_batch = 0) {
    const MessageKey key{.step = step, .micro_batch = micro_batch};
    EXPECT_EQ(packs->id(), unpacks->id());
    bytes = packs->pack(x, key);
    EXPECT_EQ(static_cast<int64_t>(bytes.size()), unpacks->packed_bytes(x.size(0), kColumns));
    EXPECT_LE(bytes.size(), unpacks->most_packed_bytes(x.size(0), kColumns));
    return unpacks->unpack(bytes, x.size(0), kColumns, key).value();
  }
  void commit(uint64_t step) {
    const Bytes announced = packs->announce(step);
    EXPECT_EQ(static_cast<int64_t>(announced.size()), unpacks->announced_bytes(step));
    ASSERT_TRUE(unpacks->read_announced(announced, step).is_ok());
    packs->commit();
    unpacks->commit();
    for (size_t i = 0; i < packs->shared().size(); ++i) {
      EXPECT_TRUE(torch::equal(packs->shared()[i], unpacks->shared()[i]));
    }
  }
  at::Tensor codebook() const { return unpacks->shared()[1]; }
  Bytes bytes;
};

at::Tensor rows(uint64_t seed, double shift = 0) {
  torch::manual_seed(static_cast<int64_t>(seed));
  return torch::randn({200, kColumns}) + shift;
}

double error(const at::Tensor& back, const at::Tensor& x) {
  return ((back - x).norm() / x.norm()).item<double>();
}

void warm_up(Pipe& leg, double shift = 0) {
  for (uint64_t step = 0; step < 2; ++step) {
    const at::Tensor x = rows(step, shift);
    EXPECT_EQ(leg.packs->id(), PackingId::kBf16);
    EXPECT_LT(error(leg.cross(x, step), x), 0.01);
    leg.commit(step);
  }
  EXPECT_EQ(leg.packs->id(), PackingId::kRvq);
}

TEST(PackingRvq, BeginsAsBf16AndSwitchesAtAStepThatBothEndsKnow) {
  Pipe leg;
  EXPECT_EQ(leg.unpacks->announced_bytes(0), 0);
  EXPECT_EQ(leg.unpacks->announced_bytes(1), 2 * 2 * 3 * 16 * 2);  // bf16 of [2, 3, 16, 2]
  warm_up(leg);
  EXPECT_EQ(leg.unpacks->announced_bytes(2), 0);
  // 200 rows of 3 groups and 2 rounds, 4 bits each; a slice: an entry's number and its values.
  EXPECT_EQ(leg.unpacks->packed_bytes(200, kColumns), 200 * 6 / 2 + 2 + 2 * 12);
}

// The shape of llama-150m at 4 windows of 256 tokens; longer messages make it less.
TEST(PackingRvq, WhatKeepsCodebooksFreshIsTwoPercentOfWhatCrossesAtMost) {
  constexpr int64_t kRows = 4 * 256, kRank = 256;
  const auto bytes = [&](int64_t slice_entries) {
    const auto leg = make_packing("rvq", {.columns = kRank, .rvq_slice_entries = slice_entries});
    EXPECT_EQ(leg->announced_bytes(99), 2 * 3 * kRank * 256);  // once
    leg->shared()[0].fill_(1);                                 // there are codebooks
    return leg->packed_bytes(kRows, kRank);
  };
  const int64_t slice = bytes(2) - bytes(1);
  const int64_t activations = bytes(1) - slice;
  EXPECT_EQ(slice, 2 + 2 * 3 * kRank);
  EXPECT_EQ(activations, 4 + 97 * kRows);
  EXPECT_LE(100 * slice, 2 * activations);
}

TEST(PackingRvq, UsageTellsHowManyEntriesAreChosen) {
  Pipe leg;
  EXPECT_TRUE(std::isnan(leg.packs->codebook_usage()));
  warm_up(leg);
  EXPECT_TRUE(std::isnan(leg.unpacks->codebook_usage()));
  for (uint64_t step = 2; step < 80; ++step) {
    leg.cross(rows(step), step);
    leg.commit(step);
  }
  const double spread = leg.packs->codebook_usage();
  EXPECT_GT(spread, 0.6);
  EXPECT_LE(spread, 1.0);
  // Rows that are all alike choose one entry of each codebook of the first round.
  for (uint64_t step = 80; step < 160; ++step) {
    leg.cross(torch::ones({200, kColumns}), step);
    leg.commit(step);
  }
  EXPECT_LT(leg.packs->codebook_usage(), 0.5 * spread);
}

TEST(PackingRvq, ErrorTellsHowMuchCodesLose) {
  Pipe leg;
  warm_up(leg);
  EXPECT_TRUE(std::isnan(leg.packs->codebook_error()));
  const double lost = error(leg.cross(rows(9), 2), rows(9));
  EXPECT_NEAR(leg.packs->codebook_error(), lost * lost, 1e-6);  // float32 sums of 1,200 squares
  leg.cross(rows(9, 4), 2, 1);
  EXPECT_NEAR(leg.packs->codebook_error(), lost * lost, 1e-6) << "of the first message";
  EXPECT_TRUE(std::isnan(leg.unpacks->codebook_error()));
}

TEST(PackingRvq, WhatArrivesIsTheDecodedCodesOfTheSharedCodebook) {
  Pipe leg;
  warm_up(leg);
  const at::Tensor x = rows(9);
  const at::Tensor back = leg.cross(x, 2);
  const at::Tensor codes = math::rvq_encode(x, leg.codebook());
  EXPECT_TRUE(torch::equal(back, math::rvq_decode(codes, leg.codebook())));
  EXPECT_LT(error(back, x), 0.5);  // 4 bits a column of Gaussian numbers, fitted to 200 rows
}

// The numbers drift away from what was fitted; slices bring the codebooks after them.
TEST(PackingRvq, CodebooksStreamOver) {
  Pipe leg;
  warm_up(leg);
  const double stale = error(leg.cross(rows(3, 4), 2), rows(3, 4));
  for (uint64_t step = 2; step < 120; ++step) {
    for (uint32_t m : {0U, 1U}) leg.cross(rows(2 * step + m, 4), step, m);
    leg.commit(step);
  }
  EXPECT_LT(error(leg.cross(rows(3, 4), 120), rows(3, 4)), 0.3 * stale);
}

TEST(PackingRvq, NothingIsInPlaceBeforeTheCommit) {
  Pipe leg;
  warm_up(leg);
  leg.cross(rows(3, 4), 2);
  leg.commit(2);
  const at::Tensor before = leg.codebook().clone();
  leg.cross(rows(5, 4), 3);
  EXPECT_TRUE(torch::equal(leg.codebook(), before));
  leg.packs->abort();
  leg.unpacks->abort();
  leg.commit(3);  // of nothing
  EXPECT_TRUE(torch::equal(leg.codebook(), before));
}

TEST(PackingRvq, CodesAndSlicesThatCannotBeAreCorrupt) {
  PackingOptions odd = options(true);
  odd.rvq_entries = 11;  // 4 bits hold 16
  Pipe leg;
  leg.packs = make_packing("rvq", odd);
  odd.packs = false;
  leg.unpacks = make_packing("rvq", odd);
  warm_up(leg);
  leg.cross(rows(3), 2);
  const auto refused = [&](size_t at, int value) {
    Bytes bytes = leg.bytes;
    bytes[at] = static_cast<std::byte>(value);
    const auto result = leg.unpacks->unpack(bytes, 200, kColumns, {.step = 2});
    return result.is_ok() ? "" : result.status().message();
  };
  EXPECT_NE(refused(0, 0xFF).find("codebook entry 15, and there are 11"), std::string::npos);
  EXPECT_NE(refused(600, 11).find("slice of codebook entry 11"), std::string::npos);
  Bytes bytes = leg.bytes;
  bytes[602] = std::byte{0x80};
  bytes[603] = std::byte{0x7F};  // infinity
  EXPECT_EQ(leg.unpacks->unpack(bytes, 200, kColumns, {.step = 2}).status().code(), Code::kCorrupt);
}

TEST(PackingRvq, NormalisedRowsKeepTheirErrorWhateverTheirSize) {
  PackingOptions normalise = options(true);
  normalise.rvq_normalise = true;
  Pipe leg, plain;
  leg.packs = make_packing("rvq", normalise);
  normalise.packs = false;
  leg.unpacks = make_packing("rvq", normalise);
  warm_up(leg);
  warm_up(plain);
  const at::Tensor x = rows(9);
  const double before = error(leg.cross(x, 2), x);
  EXPECT_NEAR(error(leg.cross(1000 * x, 2), 1000 * x), before, 0.01);
  EXPECT_GT(error(plain.cross(1000 * x, 2), 1000 * x), 0.9);  // cut off
  EXPECT_EQ(leg.cross(torch::zeros_like(x), 2).abs().max().item<float>(), 0);
  EXPECT_THROW(leg.cross(torch::full_like(x, 1e30F), 2), RunError);
  leg.cross(x, 2);
  EXPECT_EQ(leg.unpacks->packed_bytes(200, kColumns),
            plain.unpacks->packed_bytes(200, kColumns) + 4 + 200);
  Bytes bytes = leg.bytes;
  bytes[3] = std::byte{0xBF};  // the largest size: -1 or so
  EXPECT_EQ(leg.unpacks->unpack(bytes, 200, kColumns, {.step = 2}).status().code(), Code::kCorrupt);
}

TEST(PackingRvq, LargerSlicesBringMoreEntriesUpToDate) {
  const auto changed = [](int64_t slice_entries) {
    PackingOptions some = options(true);
    some.rvq_slice_entries = slice_entries;
    Pipe leg;
    leg.packs = make_packing("rvq", some);
    some.packs = false;
    leg.unpacks = make_packing("rvq", some);
    warm_up(leg);
    const at::Tensor before = leg.codebook().clone();
    for (uint64_t step = 2; step < 4; ++step) {
      for (uint32_t m : {0U, 1U}) leg.cross(rows(2 * step + m, 4), step, m);
      leg.commit(step);
    }
    return ((leg.codebook() - before).abs().sum(at::IntArrayRef({0, 1, 3})) > 0)
        .sum()
        .item<int64_t>();
  };
  // The first step's averages are those of the fit: nothing new is sent in it. Then two messages.
  EXPECT_EQ(changed(1), 2);
  EXPECT_EQ(changed(4), 8);
}

TEST(PackingRvq, OptionsThatCannotBeAreNamed) {
  const auto refusal = [](auto change) -> std::string {
    PackingOptions changed = options(true);
    change(changed);
    try {
      make_packing("rvq", changed);
      return "";
    } catch (const UserError& error) {
      return error.what();
    }
  };
  EXPECT_NE(refusal([](auto& o) { o.rvq_group_size = 4; }).find("divide the 6"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.rvq_entries = 65537; }).find("2..65536"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.rvq_rounds = 0; }).find("rvq_rounds"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.rvq_warmup_steps = 0; }).find("warmup"), std::string::npos);
  EXPECT_NE(refusal([](auto& o) { o.rvq_decay = 1; }).find("rvq_decay"), std::string::npos);
}

}  // namespace
}  // namespace mapl::codec
