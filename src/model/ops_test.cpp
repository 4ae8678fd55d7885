#include "model/ops.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace mapl::model {
namespace {

using torch::autograd::grad;

// float32 against the same formula in float64, differentiated by autograd: 6e-8 a value, and sums
// of up to a few hundred of them.
constexpr double kTolerance = 3e-6;

at::Tensor exact(const at::Tensor& x) {
  return x.detach().to(torch::kFloat64).requires_grad_(true);
}

void expect_near(const at::Tensor& found, const at::Tensor& wanted, const char* what) {
  ASSERT_EQ(found.sizes(), wanted.sizes()) << what;
  const double error = (found.to(torch::kFloat64) - wanted).norm().item<double>();
  EXPECT_LE(error, kTolerance * wanted.norm().item<double>() + 1e-12) << what;
}

class OpsTest : public testing::TestWithParam<const Ops*> {
 protected:
  void SetUp() override { torch::manual_seed(4); }
  const Ops& ops = *GetParam();
};

TEST_P(OpsTest, NormAndItsGradient) {
  for (const auto& [n, d] : {std::pair<int64_t, int64_t>{1, 1}, {3, 30}, {300, 128}}) {
    const at::Tensor x = torch::randn({n, d}), gain = torch::randn({d}), dy = torch::randn({n, d});
    const at::Tensor residual = torch::randn({n, d}), x64 = exact(x), gain64 = exact(gain);
    const at::Tensor y64 = x64 / (x64.square().mean(-1, true) + 1e-3).sqrt() * gain64;
    const auto [y, rstd] = ops.norm(x, gain, 1e-3);
    expect_near(y, y64, "y");
    expect_near(ops.normalise(x, gain, rstd), y64, "y again");
    const auto want = grad({y64}, {x64, gain64}, {dy.to(torch::kFloat64)});
    const Ops::NormGradient found = ops.norm_backward(x, gain, rstd, dy, residual);
    expect_near(found.dx_ND, want[0] + residual, "dx");
    expect_near(found.dgain_D, want[1], "dgain");
  }
}

TEST_P(OpsTest, RotationTurnsPairsAndBack) {
  const Heads heads{.batch = 2, .num_queries = 3, .num_key_values = 3, .size = 10};
  const Config config{.hidden_size = 30, .num_attention_heads = 3};
  const Rotary rotary = make_rotary(config, 7, "cpu");
  const at::Tensor x = torch::randn({14, 30});
  at::Tensor turned = x.clone();
  ops.rotate_(turned, rotary, heads, 1);
  const auto at = [](const at::Tensor& of, int64_t row, int64_t column) {
    return of[row][column].item<double>();
  };
  for (const int64_t row : {0, 5, 12}) {  // positions 0, 5, 5
    for (const int64_t i : {0, 4}) {
      const double angle = row % 7 * std::pow(10000.0, -2.0 * i / 10);
      const double a = at(x, row, 20 + i), b = at(x, row, 25 + i);  // third head
      EXPECT_NEAR(at(turned, row, 20 + i), a * std::cos(angle) - b * std::sin(angle), 1e-5);
      EXPECT_NEAR(at(turned, row, 25 + i), b * std::cos(angle) + a * std::sin(angle), 1e-5);
    }
  }
  ops.rotate_(turned, rotary, heads, -1);
  expect_near(turned, x.to(torch::kFloat64), "turned back");
}

at::Tensor exact_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const Heads& heads) {
  const int64_t t = q.size(0) / heads.batch;
  const auto split = [&](const at::Tensor& x, int64_t count) {
    return x.view({heads.batch, t, count, heads.size});
  };
  const int64_t share = heads.num_queries / heads.num_key_values;
  const at::Tensor q5 =
      split(q, heads.num_queries).view({heads.batch, t, heads.num_key_values, share, heads.size});
  const at::Tensor score = torch::einsum("btgse,buge->bgstu", {q5, split(k, heads.num_key_values)});
  const at::Tensor hidden = torch::ones({t, t}, torch::kBool).triu(1);
  const at::Tensor p = (score / std::sqrt(static_cast<double>(heads.size)))
                           .masked_fill(hidden, -INFINITY)
                           .softmax(-1);
  return torch::einsum("bgstu,buge->btgse", {p, split(v, heads.num_key_values)})
      .reshape({q.size(0), -1});
}

TEST_P(OpsTest, AttentionAndItsGradient) {
  for (const int64_t t : {1, 2, 127, 128, 129, 300}) {
    for (const int64_t groups : {4, 2, 1}) {
      const Heads heads{.batch = 2, .num_queries = 4, .num_key_values = groups, .size = 6};
      const at::Tensor q = torch::randn({2 * t, 24}) * 2, k = torch::randn({2 * t, 6 * groups});
      const at::Tensor v = torch::randn({2 * t, 6 * groups}), dout = torch::randn({2 * t, 24});
      const at::Tensor q64 = exact(q), k64 = exact(k), v64 = exact(v);
      const at::Tensor want = exact_attention(q64, k64, v64, heads);
      const Ops::Attention found = ops.attention(q, k, v, heads);
      expect_near(found.out_ND, want, "out");
      const auto d = grad({want}, {q64, k64, v64}, {dout.to(torch::kFloat64)});
      const auto dfound = ops.attention_backward(q, k, v, found, dout, heads);
      if (t > 1) expect_near(dfound.dq_ND, d[0], "dq");  // one key leaves nothing to choose
      if (t > 1) expect_near(dfound.dk_NG, d[1], "dk");
      expect_near(dfound.dv_NG, d[2], "dv");
    }
  }
}

TEST_P(OpsTest, SwigluAndItsGradient) {
  const at::Tensor gate = torch::randn({5, 41}) * 20, up = torch::randn({5, 41});
  const at::Tensor da = torch::randn({5, 41}), gate64 = exact(gate), up64 = exact(up);
  const at::Tensor want = gate64 * gate64.sigmoid() * up64;
  const auto d = grad({want}, {gate64, up64}, {da.to(torch::kFloat64)});
  expect_near(ops.swiglu(gate, up), want, "a");
  const Ops::SwigluGradient found = ops.swiglu_backward(gate, up, da.clone());
  expect_near(found.a_NF, want, "a again");
  expect_near(found.dgate_NF, d[0], "dgate");
  expect_near(found.dup_NF, d[1], "dup");
}

TEST_P(OpsTest, CrossEntropyAndItsGradient) {
  const at::Tensor logits = torch::randn({9, 77}) * 30, logits64 = exact(logits);
  const at::Tensor targets = torch::randint(77, {9}, torch::kInt64);
  const at::Tensor want =
      torch::nll_loss(logits64.log_softmax(-1), targets, {}, at::Reduction::Sum);
  const auto d = grad({want * 0.25}, {logits64});
  at::Tensor found = logits.clone();
  expect_near(ops.cross_entropy_(found, targets, 0.25), want, "loss");
  expect_near(found, d[0], "dlogits");
}

TEST_P(OpsTest, RowsAreAddedWhereTheirIdsSay) {
  at::Tensor sum = torch::ones({4, 3});
  ops.add_rows_(sum, torch::tensor({2, 0, 2}, torch::kInt64),
                torch::arange(9.0).view({3, 3}).to(torch::kFloat32));
  const at::Tensor want = torch::tensor({{4., 5., 6.}, {1., 1., 1.}, {7., 9., 11.}, {1., 1., 1.}});
  EXPECT_TRUE(sum.equal(want.to(torch::kFloat32))) << sum;
}

TEST(FusedOps, BitsDoNotDependOnTheNumberOfThreads) {
  torch::manual_seed(8);
  const int64_t n = 3 * 150;
  const Heads heads{.batch = 3, .num_queries = 4, .num_key_values = 2, .size = 6};
  const at::Tensor x = torch::randn({n, 24}), gain = torch::randn({24}), dy = torch::randn({n, 24});
  const at::Tensor k = torch::randn({n, 12}), v = torch::randn({n, 12});
  const auto results = [&](int num_threads) {
    const int before = torch::get_num_threads();
    torch::set_num_threads(num_threads);
    const Ops& ops = Ops::fused();
    const auto [y, rstd] = ops.norm(x, gain, 1e-5);
    const Ops::NormGradient norm = ops.norm_backward(x, gain, rstd, dy, y);
    const Ops::Attention forward = ops.attention(x, k, v, heads);
    const auto d = ops.attention_backward(x, k, v, forward, dy, heads);
    const Ops::SwigluGradient swiglu = ops.swiglu_backward(x, y, dy.clone());
    at::Tensor logits = x.clone();
    const at::Tensor loss = ops.cross_entropy_(logits, torch::arange(n) % 24, 0.1);
    torch::set_num_threads(before);
    return std::vector<at::Tensor>{y,       rstd,    norm.dx_ND, norm.dgain_D,    forward.out_ND,
                                   d.dq_ND, d.dk_NG, d.dv_NG,    swiglu.dgate_NF, swiglu.dup_NF,
                                   logits,  loss};
  };
  const auto one = results(1), three = results(3);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(three[i])) << "result " << i;
}

INSTANTIATE_TEST_SUITE_P(, OpsTest, testing::Values(&Ops::fused(), &Ops::composed()),
                         [](const auto& info) { return info.index == 0 ? "Fused" : "Composed"; });

}  // namespace
}  // namespace mapl::model
