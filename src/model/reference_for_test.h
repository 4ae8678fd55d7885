// The judge of the tests: a LLaMA written once more, with plain tensor operations on parameters
// taken by name, in any precision, differentiated by autograd.
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>
#include <map>
#include <string>

#include "model/config.h"

namespace mapl::model::reference {

using Parameters = std::map<std::string, at::Tensor>;

inline at::Tensor norm(const at::Tensor& x, const at::Tensor& gain, double eps) {
  return x / (x.square().mean(-1, true) + eps).sqrt() * gain;
}

// Each pair (i, i + E/2) as a complex number, turned.
inline at::Tensor rotate(const at::Tensor& x_BHTE, double theta) {
  const int64_t t = x_BHTE.size(2), e = x_BHTE.size(3);
  const at::Tensor f =
      torch::exp(torch::arange(0, e, 2, x_BHTE.options()) * (-std::log(theta) / e));
  const at::Tensor angle = torch::arange(t, x_BHTE.options()).unsqueeze(1) * f;
  const at::Tensor z = torch::complex(x_BHTE.slice(3, 0, e / 2), x_BHTE.slice(3, e / 2)) *
                       torch::polar(torch::ones_like(angle), angle);
  return torch::cat({torch::real(z), torch::imag(z)}, -1);
}

inline at::Tensor attention(const Config& c, const Parameters& p, const std::string& layer,
                            const at::Tensor& h_BTD) {
  const int64_t b = h_BTD.size(0), t = h_BTD.size(1), e = c.hidden_size / c.num_attention_heads;
  const auto heads = [&](const char* name) {
    return h_BTD.matmul(p.at(fmt::format("{}self_attn.{}_proj.weight", layer, name)).t())
        .view({b, t, -1, e})
        .transpose(1, 2);
  };
  const at::Tensor q = rotate(heads("q"), c.rope_theta), k = rotate(heads("k"), c.rope_theta);
  const at::Tensor v = heads("v");
  const at::Tensor hidden = torch::ones({t, t}, torch::kBool).triu(1);
  std::vector<at::Tensor> out;
  for (int64_t head = 0; head < c.num_attention_heads; ++head) {
    const int64_t group = head / (c.num_attention_heads / c.num_key_value_heads);
    const at::Tensor score =
        q.select(1, head).matmul(k.select(1, group).transpose(1, 2)) / std::sqrt(double(e));
    out.push_back(score.masked_fill(hidden, -INFINITY).softmax(-1).matmul(v.select(1, group)));
  }
  return torch::cat(out, -1).matmul(p.at(layer + "self_attn.o_proj.weight").t());
}

// Sum of the cross entropy of targets_BT, over `divisor`.
inline at::Tensor loss(const Config& c, const Parameters& p, const at::Tensor& ids_BT,
                       const at::Tensor& targets_BT, double divisor) {
  at::Tensor x = p.at("model.embed_tokens.weight").index({ids_BT});
  for (int64_t n = 0; n < c.num_hidden_layers; ++n) {
    const std::string layer = fmt::format("model.layers.{}.", n);
    const auto weight = [&](const char* name) { return p.at(layer + name).t(); };
    x = x + attention(c, p, layer, norm(x, p.at(layer + "input_layernorm.weight"), c.rms_norm_eps));
    const at::Tensor h = norm(x, p.at(layer + "post_attention_layernorm.weight"), c.rms_norm_eps);
    const at::Tensor gate = h.matmul(weight("mlp.gate_proj.weight"));
    x = x + (gate * gate.sigmoid() * h.matmul(weight("mlp.up_proj.weight")))
                .matmul(weight("mlp.down_proj.weight"));
  }
  const at::Tensor logits =
      norm(x, p.at("model.norm.weight"), c.rms_norm_eps).matmul(p.at("lm_head.weight").t());
  const at::Tensor chosen = logits.gather(-1, targets_BT.unsqueeze(-1)).squeeze(-1);
  return (logits.logsumexp(-1) - chosen).sum() / divisor;
}

}  // namespace mapl::model::reference
