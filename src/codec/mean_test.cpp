#include "codec/mean.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <limits>

#include "codec/pair_for_test.h"

namespace mapl::codec {
namespace {

Options options(const std::string& projector, const std::string& packing) {
  return {.projector = projector,
          .rank = 4,
          .anchor = "none",
          .subtract_mean = true,
          .activation = packing,
          .gradient = packing,
          .topk = 4};
}

at::Tensor mean_of(Pair& pair) { return find(pair.sender.state(), "sender.mean"); }

// Rows of size 1 around a vector of size 3.5.
at::Tensor shifted(uint64_t seed) {
  torch::manual_seed(static_cast<int64_t>(seed));
  return torch::randn({kRows, kHidden}) + torch::linspace(-6, 6, kHidden);
}

TEST(Mean, IsThatOfAllThatCrossedInTheStepBefore) {
  Pair pair(options("frozen", "f32"));
  EXPECT_TRUE(torch::equal(mean_of(pair), torch::zeros({4})));
  for (uint32_t micro_batch : {0U, 1U}) {
    pair.cross(shifted(micro_batch), some_ids(), {.step = 0, .micro_batch = micro_batch});
  }
  pair.commit(0);
  const at::Tensor all = torch::cat({shifted(0), shifted(1)}).mm(pair.sender.basis());
  EXPECT_TRUE(torch::allclose(mean_of(pair), all.mean(0), 0, 1e-5));  // 24 values of at most 20
  EXPECT_TRUE(torch::equal(mean_of(pair), find(pair.receiver.state(), "receiver.mean")));
}

// It is off the wire and back: the same matrix arrives, but for rounding.
TEST(Mean, ChangesWhatIsPackedAndNotWhatArrives) {
  Pair pair(options("identity", "f32"));
  pair.cross(shifted(1), some_ids());
  pair.commit();
  const auto out = pair.cross(shifted(2), some_ids(), {.step = 1});
  at::Tensor packed = torch::empty({kRows, kHidden});
  std::memcpy(packed.data_ptr(), out.activation.data(), out.activation.size());
  EXPECT_TRUE(torch::equal(packed, shifted(2) - mean_of(pair)));
  EXPECT_TRUE(torch::allclose(out.restored_ND, shifted(2), 0, 2e-6));  // of values of at most 9
}

TEST(Mean, AValidationDoesNotMoveIt) {
  Pair pair(options("identity", "f32"));
  pair.sender.pack(shifted(1), {.trains = false});
  pair.commit();
  EXPECT_TRUE(torch::equal(mean_of(pair), torch::zeros({kHidden})));
}

TEST(Mean, LessIsLostWithoutIt) {
  for (const char* packing : {"int8", "int4", "topk"}) {
    Pair pair(options("identity", packing));
    const auto lost = [&](uint64_t step) {
      const auto out = pair.cross(shifted(step), some_ids(), {.step = step});
      return (out.restored_ND - shifted(step)).square().sum().item<double>();
    };
    const double without = lost(0);
    pair.commit(0);
    EXPECT_LT(lost(1), 0.2 * without) << packing;
  }
}

TEST(Mean, WhatIsNotAMeanIsRefused) {
  Mean mean(2, at::kCPU);
  Bytes bytes(8);
  EXPECT_TRUE(mean.read_announced(bytes).is_ok());
  bytes.push_back({});
  EXPECT_EQ(mean.read_announced(bytes).code(), Code::kCorrupt);
  const float bad = std::numeric_limits<float>::infinity();
  bytes.resize(8);
  std::memcpy(bytes.data() + 4, &bad, 4);
  EXPECT_EQ(mean.read_announced(bytes).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::codec
