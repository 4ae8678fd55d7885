#include <torch/torch.h>

#include <cmath>

#include "model/ops.h"

namespace mapl::model {
namespace {

// [B*T, heads*E] as [B, heads, T, E].
at::Tensor split(const at::Tensor& x, const Heads& heads) {
  const int64_t t = x.size(0) / heads.batch;
  return x.view({heads.batch, t, -1, heads.size}).transpose(1, 2);
}

at::Tensor merge(const at::Tensor& x_BHTE) {
  return x_BHTE.transpose(1, 2).reshape({x_BHTE.size(0) * x_BHTE.size(2), -1});
}

// Key-value heads, once for every query head.
at::Tensor spread(const at::Tensor& x_BGTE, const Heads& heads) {
  const int64_t times = heads.num_queries / heads.num_key_values;
  return times == 1 ? x_BGTE : x_BGTE.repeat_interleave(times, 1);
}

// The reverse: sums over the query heads of a group.
at::Tensor gather(const at::Tensor& x_BHTE, const Heads& heads) {
  if (heads.num_queries == heads.num_key_values) return x_BHTE;
  return x_BHTE.unflatten(1, {heads.num_key_values, heads.num_queries / heads.num_key_values})
      .sum(2);
}

// WHY in place, here and below: of all tensors of a step those of T x T are the largest.
at::Tensor scores(const at::Tensor& q_BHTE, const at::Tensor& k_BHTE) {
  const int64_t t = q_BHTE.size(2);
  const at::Tensor hidden = torch::ones({t, t}, q_BHTE.options().dtype(torch::kBool)).triu(1);
  const double scale = 1 / std::sqrt(static_cast<double>(q_BHTE.size(3)));
  return q_BHTE.matmul(k_BHTE.transpose(2, 3)).mul_(scale).masked_fill_(hidden, -INFINITY);
}

class Composed : public Ops {
 public:
  std::pair<at::Tensor, at::Tensor> norm(const at::Tensor& x_ND, const at::Tensor& gain_D,
                                         double eps) const override {
    const at::Tensor rstd_N = torch::rsqrt(x_ND.square().mean(-1) + eps);
    return {normalise(x_ND, gain_D, rstd_N), rstd_N};
  }

  at::Tensor normalise(const at::Tensor& x_ND, const at::Tensor& gain_D,
                       const at::Tensor& rstd_N) const override {
    return x_ND * rstd_N.unsqueeze(1) * gain_D;
  }

  NormGradient norm_backward(const at::Tensor& x_ND, const at::Tensor& gain_D,
                             const at::Tensor& rstd_N, const at::Tensor& dy_ND,
                             const at::Tensor& residual_ND) const override {
    const at::Tensor unit_ND = x_ND * rstd_N.unsqueeze(1), dunit_ND = dy_ND * gain_D;
    const at::Tensor along_N1 = (dunit_ND * unit_ND).mean(-1, true);
    return {residual_ND + (dunit_ND - unit_ND * along_N1) * rstd_N.unsqueeze(1),
            (dy_ND * unit_ND).sum(0)};
  }

  void rotate_(at::Tensor& x, const Rotary& rotary, const Heads& heads,
               double sign) const override {
    const auto half = split(x, heads).chunk(2, -1);  // views
    const at::Tensor sin_TE = rotary.sin_TE * sign;
    const at::Tensor first = half[0] * rotary.cos_TE - half[1] * sin_TE;
    half[1].copy_(half[1] * rotary.cos_TE + half[0] * sin_TE);
    half[0].copy_(first);
  }

  Attention attention(const at::Tensor& q_ND, const at::Tensor& k_NG, const at::Tensor& v_NG,
                      const Heads& heads) const override {
    const at::Tensor score = scores(split(q_ND, heads), spread(split(k_NG, heads), heads));
    const at::Tensor lse_BHT = score.logsumexp(-1);
    const at::Tensor share = score.sub_(lse_BHT.unsqueeze(-1)).exp_();
    return {merge(share.matmul(spread(split(v_NG, heads), heads))), lse_BHT};
  }

  AttentionGradient attention_backward(const at::Tensor& q_ND, const at::Tensor& k_NG,
                                       const at::Tensor& v_NG, const Attention& forward,
                                       const at::Tensor& dout_ND,
                                       const Heads& heads) const override {
    const at::Tensor q = split(q_ND, heads), k = spread(split(k_NG, heads), heads);
    const at::Tensor v = spread(split(v_NG, heads), heads), dout = split(dout_ND, heads);
    const at::Tensor share = scores(q, k).sub_(forward.lse_BHT.unsqueeze(-1)).exp_();
    const at::Tensor delta = (dout * split(forward.out_ND, heads)).sum(-1, true);
    const double scale = 1 / std::sqrt(static_cast<double>(heads.size));
    const at::Tensor dscore = dout.matmul(v.transpose(2, 3)).sub_(delta).mul_(share).mul_(scale);
    return {merge(dscore.matmul(k)), merge(gather(dscore.transpose(2, 3).matmul(q), heads)),
            merge(gather(share.transpose(2, 3).matmul(dout), heads))};
  }

  at::Tensor swiglu(const at::Tensor& gate_NF, const at::Tensor& up_NF) const override {
    return torch::silu(gate_NF).mul_(up_NF);
  }

  SwigluGradient swiglu_backward(const at::Tensor& gate_NF, const at::Tensor& up_NF,
                                 at::Tensor da_NF) const override {
    const at::Tensor sigmoid = gate_NF.sigmoid(), silu = gate_NF * sigmoid;
    return {silu * up_NF, da_NF * up_NF * (sigmoid + silu * (1 - sigmoid)), da_NF * silu};
  }

  at::Tensor cross_entropy_(at::Tensor& logits_NV, const at::Tensor& targets_N,
                            double scale) const override {
    const at::Tensor lse_N1 = logits_NV.logsumexp(-1, true);
    const at::Tensor index_N1 = targets_N.unsqueeze(1);
    const at::Tensor loss = (lse_N1 - logits_NV.gather(1, index_N1)).sum(torch::kFloat64);
    logits_NV.sub_(lse_N1).exp_().mul_(scale);
    logits_NV.scatter_add_(1, index_N1, torch::full_like(lse_N1, -scale));
    return loss;
  }

  // WHY not index_add_: on CUDA it adds in no fixed order.
  void add_rows_(at::Tensor& sum_VD, const at::Tensor& ids_N,
                 const at::Tensor& rows_ND) const override {
    sum_VD.index_put_({ids_N}, rows_ND, /*accumulate=*/true);
  }
};

}  // namespace

const Ops& Ops::composed() {
  static const Composed ops;
  return ops;
}

const Ops& Ops::of(const at::Tensor& x) { return x.is_cpu() ? fused() : composed(); }

}  // namespace mapl::model
