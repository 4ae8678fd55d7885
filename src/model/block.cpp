#include "model/block.h"

#include <torch/torch.h>

#include <cmath>

#include "model/norm.h"

namespace mapl::model {
namespace {

at::Tensor turn(const at::Tensor& x_BTHE, const Rotary& rotary) {
  const at::Tensor cos = rotary.cos_TE.unsqueeze(1), sin = rotary.sin_TE.unsqueeze(1);
  const auto half = x_BTHE.chunk(2, -1);
  return torch::cat({half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
}

}  // namespace

at::Tensor block(const Config& config, const Layer& layer, const Rotary& rotary,
                 const at::Tensor& x_ND, int64_t batch) {
  const int64_t t = x_ND.size(0) / batch, e = head_size(config);
  const int64_t groups = config.num_key_value_heads;
  const double eps = config.rms_norm_eps;
  const at::Tensor h = rms_norm(x_ND, layer.input_norm, eps);
  const auto heads = [&](const at::Tensor& w) {
    return torch::mm(h, w.t()).view({batch, t, -1, e});
  };
  const auto spread = [&](const at::Tensor& x) {
    return x.repeat_interleave(config.num_attention_heads / groups, 2).transpose(1, 2);
  };
  const at::Tensor q = turn(heads(layer.q), rotary).transpose(1, 2);
  const at::Tensor k = spread(turn(heads(layer.k), rotary)), v = spread(heads(layer.v));
  const at::Tensor mask = torch::ones({t, t}, x_ND.options().dtype(torch::kBool)).triu(1);
  const at::Tensor score = q.matmul(k.transpose(-1, -2)) / std::sqrt(static_cast<double>(e));
  const at::Tensor share = score.masked_fill(mask, -INFINITY).softmax(-1);
  const at::Tensor o = share.matmul(v).transpose(1, 2).reshape({batch * t, -1});
  const at::Tensor x1 = x_ND + torch::mm(o, layer.o.t());
  const at::Tensor h2 = rms_norm(x1, layer.post_attention_norm, eps);
  const at::Tensor a = torch::silu(torch::mm(h2, layer.gate.t())) * torch::mm(h2, layer.up.t());
  return x1 + torch::mm(a, layer.down.t());
}

}  // namespace mapl::model
