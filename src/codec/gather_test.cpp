#include "codec/gather.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace mapl::codec {
namespace {

TEST(Gather, ValueAndGradientAreThoseOfTorchsEmbedding) {
  const at::Tensor table = torch::randn({9, 5}).requires_grad_();
  const at::Tensor reference = table.detach().clone().requires_grad_();
  const at::Tensor weight = torch::randn({40, 5});
  for (int micro_batch = 0; micro_batch < 3; ++micro_batch) {
    const at::Tensor ids = torch::randint(0, 9, {40}, torch::kLong);
    const at::Tensor rows = gather_rows(table, ids);
    const at::Tensor expected = torch::embedding(reference, ids);
    EXPECT_TRUE(torch::equal(rows, expected));
    (rows * weight).sum().backward();
    (expected * weight).sum().backward();
  }
  // Torch adds the sum of a micro-batch, not each row: float32 rounding of about 15 terms of
  // order 1.
  EXPECT_TRUE(torch::allclose(table.grad(), reference.grad(), 1e-5, 1e-5));
}

TEST(Gather, RepeatedBackwardsGiveTheSameBits) {
  const at::Tensor ids = torch::randint(0, 4, {500}, torch::kLong);
  const at::Tensor weight = torch::randn({500, 8});
  at::Tensor first;
  for (int run = 0; run < 3; ++run) {
    const at::Tensor table = torch::ones({4, 8}).requires_grad_();
    (gather_rows(table, ids) * weight).sum().backward();
    if (!first.defined()) first = table.grad();
    EXPECT_TRUE(torch::equal(table.grad(), first));
  }
}

TEST(Gather, TheResultMayBeChangedInPlace) {
  const at::Tensor table = torch::randn({3, 2}).requires_grad_();
  const at::Tensor ids = torch::tensor({2, 2, 0}, torch::kLong);
  const at::Tensor other = torch::randn({3, 2}).requires_grad_();
  gather_rows(table, ids).add_(other).sum().backward();
  EXPECT_TRUE(
      torch::equal(table.grad(), torch::tensor({{1.0F, 1.0F}, {0.0F, 0.0F}, {2.0F, 2.0F}})));
  EXPECT_TRUE(torch::equal(other.grad(), torch::ones({3, 2})));
}

}  // namespace
}  // namespace mapl::codec
