#include "model/block.h"

#include <torch/torch.h>

#include "model/gradient.h"
#include "model/ops.h"

namespace mapl::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a layer keeps of a micro-batch, beside its input: 5 D + 2 (G E) + 2 F + H + 2 values a
// token.
struct Kept {
  at::Tensor x, rstd1, q, k, v, out, lse, middle, rstd2, gate, up;
};

Layer layer_from(const variable_list& saved) {
  return {saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], saved[7], saved[8]};
}

Kept kept_from(const variable_list& saved) {
  return {saved[9],  saved[10], saved[11], saved[12], saved[13], saved[14],
          saved[15], saved[16], saved[17], saved[18], saved[19]};
}

at::Tensor forward_of(const Layer& layer, const Rotary& rotary, const Heads& heads, double eps,
                      Kept& kept) {
  const Ops& ops = Ops::of(kept.x);
  at::Tensor h;
  std::tie(h, kept.rstd1) = ops.norm(kept.x, layer.input_norm, eps);
  kept.q = at::mm(h, layer.q.t());
  kept.k = at::mm(h, layer.k.t());
  kept.v = at::mm(h, layer.v.t());
  ops.rotate_(kept.q, rotary, heads, 1);
  ops.rotate_(kept.k, rotary, heads, 1);
  const Ops::Attention attention = ops.attention(kept.q, kept.k, kept.v, heads);
  kept.out = attention.out_ND;
  kept.lse = attention.lse_BHT;
  kept.middle = at::addmm(kept.x, kept.out, layer.o.t());
  std::tie(h, kept.rstd2) = ops.norm(kept.middle, layer.post_attention_norm, eps);
  kept.gate = at::mm(h, layer.gate.t());
  kept.up = at::mm(h, layer.up.t());
  return at::addmm(kept.middle, ops.swiglu(kept.gate, kept.up), layer.down.t());
}

// From the gradient of the layer's output to that of the sum in its middle.
at::Tensor mlp_backward(const Layer& layer, const Kept& kept, const at::Tensor& dy) {
  const Ops& ops = Ops::of(dy);
  const Ops::SwigluGradient d = ops.swiglu_backward(kept.gate, kept.up, at::mm(dy, layer.down));
  add_product(layer.down, dy, d.a_NF);
  const at::Tensor h = ops.normalise(kept.middle, layer.post_attention_norm, kept.rstd2);
  add_product(layer.gate, d.dgate_NF, h);
  add_product(layer.up, d.dup_NF, h);
  const at::Tensor dh = at::mm(d.dgate_NF, layer.gate).addmm_(d.dup_NF, layer.up);
  const Ops::NormGradient norm =
      ops.norm_backward(kept.middle, layer.post_attention_norm, kept.rstd2, dh, dy);
  add_gradient(layer.post_attention_norm, norm.dgain_D);
  return norm.dx_ND;
}

// From there to the gradient of the layer's input.
at::Tensor attention_backward(const Layer& layer, const Rotary& rotary, const Heads& heads,
                              const Kept& kept, const at::Tensor& dmiddle) {
  const Ops& ops = Ops::of(dmiddle);
  add_product(layer.o, dmiddle, kept.out);
  Ops::AttentionGradient d = ops.attention_backward(kept.q, kept.k, kept.v, {kept.out, kept.lse},
                                                    at::mm(dmiddle, layer.o), heads);
  ops.rotate_(d.dq_ND, rotary, heads, -1);
  ops.rotate_(d.dk_NG, rotary, heads, -1);
  const at::Tensor h = ops.normalise(kept.x, layer.input_norm, kept.rstd1);
  add_product(layer.q, d.dq_ND, h);
  add_product(layer.k, d.dk_NG, h);
  add_product(layer.v, d.dv_NG, h);
  const at::Tensor dh = at::mm(d.dq_ND, layer.q).addmm_(d.dk_NG, layer.k).addmm_(d.dv_NG, layer.v);
  const Ops::NormGradient norm =
      ops.norm_backward(kept.x, layer.input_norm, kept.rstd1, dh, dmiddle);
  add_gradient(layer.input_norm, norm.dgain_D);
  return norm.dx_ND;
}

// The whole layer as one node of the graph. `gain`, the first parameter of the layer, stands for
// all of them: the output needs a gradient when it does.
struct BlockFunction : torch::autograd::Function<BlockFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gain,
                            const Layer& layer, const Rotary& rotary, const Heads& heads,
                            double eps) {
    Kept kept;
    kept.x = x;
    const at::Tensor y = forward_of(layer, rotary, heads, eps, kept);
    context->save_for_backward(
        {gain,       layer.q,  layer.k,       layer.v,      layer.o,     layer.post_attention_norm,
         layer.gate, layer.up, layer.down,    kept.x,       kept.rstd1,  kept.q,
         kept.k,     kept.v,   kept.out,      kept.lse,     kept.middle, kept.rstd2,
         kept.gate,  kept.up,  rotary.cos_TE, rotary.sin_TE});
    context->saved_data["heads"] =
        std::vector<int64_t>{heads.batch, heads.num_queries, heads.num_key_values, heads.size};
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list dy) {
    const variable_list saved = context->get_saved_variables();
    const Layer layer = layer_from(saved);
    const Kept kept = kept_from(saved);
    const Rotary rotary{saved[20], saved[21]};
    const std::vector<int64_t> sizes = context->saved_data["heads"].toIntVector();
    const Heads heads{sizes[0], sizes[1], sizes[2], sizes[3]};
    const at::Tensor dmiddle = mlp_backward(layer, kept, dy[0].contiguous());
    const at::Tensor dx = attention_backward(layer, rotary, heads, kept, dmiddle);
    return {dx, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor block(const Config& config, const Layer& layer, const Rotary& rotary,
                 const at::Tensor& x_ND, int64_t batch) {
  const Heads heads{batch, config.num_attention_heads, config.num_key_value_heads,
                    head_size(config)};
  return BlockFunction::apply(x_ND, layer.input_norm, layer, rotary, heads, config.rms_norm_eps);
}

}  // namespace mapl::model
