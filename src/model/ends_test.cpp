#include "model/ends.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace mapl::model {
namespace {

at::Tensor exact(const at::Tensor& x) {
  return x.detach().to(torch::kFloat64).requires_grad_(true);
}

// float32 sums of up to a few hundred products.
void expect_near(const at::Tensor& found, const at::Tensor& wanted, const char* what) {
  const double error = (found.to(torch::kFloat64) - wanted).norm().item<double>();
  EXPECT_LE(error, 3e-6 * wanted.norm().item<double>()) << what;
}

// A vocabulary so large that the rows fall into chunks of 256 + 256 + 88.
TEST(Ends, TheLossIsTheSameInChunks) {
  torch::manual_seed(2);
  const int64_t vocab_size = 20000, n = 600, d = 8;
  const at::Tensor gain = torch::randn({d}).requires_grad_(true);
  const at::Tensor weight = torch::randn({vocab_size, d}).requires_grad_(true);
  const at::Tensor x = torch::randn({n, d}).requires_grad_(true);
  const at::Tensor targets = torch::randint(vocab_size, {n}, torch::kInt64);
  const at::Tensor loss = head_loss({gain, weight, 1e-5}, x, targets, 900);
  loss.backward();

  const at::Tensor x64 = exact(x), gain64 = exact(gain), weight64 = exact(weight);
  const at::Tensor h64 = x64 / (x64.square().mean(-1, true) + 1e-5).sqrt() * gain64;
  const at::Tensor want =
      torch::nll_loss(h64.mm(weight64.t()).log_softmax(-1), targets, {}, at::Reduction::Sum) / 900;
  want.backward();
  expect_near(loss, want, "loss");
  expect_near(x.grad(), x64.grad(), "dx");
  expect_near(gain.grad(), gain64.grad(), "dgain");
  expect_near(weight.grad(), weight64.grad(), "dweight");
}

TEST(Ends, TheEmbeddingLearnsAtTheRowsOfItsIds) {
  const at::Tensor weight = torch::randn({5, 2}).requires_grad_(true);
  const at::Tensor ids = torch::tensor({{4, 1}, {4, 0}}, torch::kInt64);
  const at::Tensor x = embed(weight, ids);
  EXPECT_TRUE(x.detach().equal(weight.detach().index_select(0, ids.flatten())));
  const at::Tensor dx = torch::arange(8.0).view({4, 2}).to(torch::kFloat32);
  x.backward(dx);
  const at::Tensor want =
      torch::tensor({{6.f, 7.f}, {2.f, 3.f}, {0.f, 0.f}, {0.f, 0.f}, {4.f, 6.f}});
  EXPECT_TRUE(weight.grad().equal(want)) << weight.grad();
}

TEST(EndsDeathTest, AnIdBeyondTheVocabularyStopsTheProcess) {
  const at::Tensor weight = torch::randn({5, 2});
  EXPECT_DEATH(embed(weight, torch::tensor({5}, torch::kInt64)), "vocabulary of 5");
}

}  // namespace
}  // namespace mapl::model
