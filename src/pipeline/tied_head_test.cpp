#include "pipeline/tied_head.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <optional>
#include <thread>

#include "link/inproc.h"

namespace mapl::pipeline {
namespace {

at::Tensor with_grad(double value, double grad) {
  at::Tensor tensor = torch::full({3, 2}, value).requires_grad_(true);
  tensor.mutable_grad() = torch::full({3, 2}, grad);
  return tensor;
}

TEST(TiedHead, OneProcessAddsTheHalvesAndCountsTheMatrixOnce) {
  const at::Tensor embedding = with_grad(1, 0.1);
  const at::Tensor head = with_grad(1, 0.7);
  TiedHead tied({{"model.embed_tokens.weight", embedding}, {"lm_head.weight", head}}, nullptr,
                nullptr, 24);
  const auto sum = tied.exchange(0);
  ASSERT_TRUE(sum.is_ok());
  EXPECT_FALSE(head.grad().defined());
  tied.share(sum.value());
  EXPECT_TRUE(torch::equal(head.grad(), embedding.grad()));
  EXPECT_TRUE(torch::equal(head.grad(), torch::full({3, 2}, 0.1f) + torch::full({3, 2}, 0.7f)));
}

TEST(TiedHead, ThreeStagesHoldTheSameSumAtBothEnds) {
  auto [l01, l10] = link::make_inproc_pair({.max_payload_bytes = 24}, {.max_payload_bytes = 24});
  auto [l12, l21] = link::make_inproc_pair({.max_payload_bytes = 24}, {.max_payload_bytes = 24});
  Channel c01(*l01, {.stage = 0, .neighbour = 1}), c10(*l10, {.stage = 1, .neighbour = 0});
  Channel c12(*l12, {.stage = 1, .neighbour = 2}), c21(*l21, {.stage = 2, .neighbour = 1});
  const at::Tensor embedding = with_grad(1, 0.1);
  const at::Tensor head = with_grad(1, 0.7);
  TiedHead first({{"model.embed_tokens.weight", embedding}}, nullptr, &c01, 24);
  TiedHead middle({}, &c10, &c12, 24);
  TiedHead last({{"lm_head.weight", head}}, &c21, nullptr, 24);
  std::vector<Result<at::Tensor>> sums(3, Status(Code::kClosed, "not yet"));
  {
    const std::jthread a([&] { sums[0] = first.exchange(5); });
    const std::jthread b([&] { sums[1] = middle.exchange(5); });
    const std::jthread c([&] { sums[2] = last.exchange(5); });
  }
  for (const auto& sum : sums) ASSERT_TRUE(sum.is_ok()) << sum.status().to_string();
  EXPECT_FALSE(sums[1].value().defined());
  last.share(sums[2].value());
  EXPECT_TRUE(torch::equal(head.grad(), torch::full({3, 2}, 0.1f) + torch::full({3, 2}, 0.7f)));
  EXPECT_TRUE(torch::equal(head.grad(), embedding.grad()));
}

}  // namespace
}  // namespace mapl::pipeline
