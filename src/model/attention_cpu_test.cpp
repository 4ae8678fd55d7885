#include "model/attention_cpu.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>

namespace mapl::model {
namespace {

// Values against a float64 reference: ops_test.cpp.

TEST(AttentionCpu, TheFutureIsNotEvenRead) {
  torch::manual_seed(1);
  const Heads heads{.batch = 1, .num_queries = 2, .num_key_values = 2, .size = 4};
  const at::Tensor q = torch::randn({150, 8}), k = torch::randn({150, 8}),
                   v = torch::randn({150, 8});
  const at::Tensor out = attention_cpu(q, k, v, heads).out_ND;
  at::Tensor k2 = k.clone();
  k2.slice(0, 100).fill_(1e3);
  const at::Tensor changed = attention_cpu(q, k2, v, heads).out_ND;
  EXPECT_TRUE(changed.slice(0, 0, 100).equal(out.slice(0, 0, 100)));
  EXPECT_FALSE(changed.slice(0, 100).equal(out.slice(0, 100)));
}

TEST(AttentionCpu, SequencesOfABatchAreStrangers) {
  torch::manual_seed(1);
  Heads heads{.batch = 3, .num_queries = 4, .num_key_values = 2, .size = 4};
  const int64_t t = 70;
  const at::Tensor q = torch::randn({3 * t, 16}), k = torch::randn({3 * t, 8});
  const at::Tensor v = torch::randn({3 * t, 8}), dout = torch::randn({3 * t, 16});
  const Ops::Attention all = attention_cpu(q, k, v, heads);
  const Ops::AttentionGradient dall = attention_cpu_backward(q, k, v, all, dout, heads);
  heads.batch = 1;
  for (int64_t b = 0; b < 3; ++b) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, b * t, t).contiguous(); };
    const Ops::Attention one = attention_cpu(part(q), part(k), part(v), heads);
    EXPECT_TRUE(one.out_ND.equal(part(all.out_ND)));
    const auto d = attention_cpu_backward(part(q), part(k), part(v), one, part(dout), heads);
    EXPECT_TRUE(d.dq_ND.equal(part(dall.dq_ND)));
    EXPECT_TRUE(d.dk_NG.equal(part(dall.dk_NG)));
    EXPECT_TRUE(d.dv_NG.equal(part(dall.dv_NG)));
  }
}

}  // namespace
}  // namespace mapl::model
