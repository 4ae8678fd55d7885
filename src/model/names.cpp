#include "model/names.h"

#include <fmt/format.h>

namespace mapl::model {

std::vector<NamedShape> layer_shapes(const Config& c, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  const int64_t kv = c.num_key_value_heads * head_size(c);
  return {
      {prefix + "input_layernorm.weight", {d}},
      {prefix + "self_attn.q_proj.weight", {d, d}},
      {prefix + "self_attn.k_proj.weight", {kv, d}},
      {prefix + "self_attn.v_proj.weight", {kv, d}},
      {prefix + "self_attn.o_proj.weight", {d, d}},
      {prefix + "post_attention_layernorm.weight", {d}},
      {prefix + "mlp.gate_proj.weight", {f, d}},
      {prefix + "mlp.up_proj.weight", {f, d}},
      {prefix + "mlp.down_proj.weight", {d, f}},
  };
}

std::vector<NamedShape> parameter_shapes(const Config& c) {
  std::vector<NamedShape> all = {{kEmbedding, {c.vocab_size, c.hidden_size}}};
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    for (NamedShape& p : layer_shapes(c, layer)) all.push_back(std::move(p));
  }
  all.push_back({kFinalNorm, {c.hidden_size}});
  all.push_back({kHead, {c.vocab_size, c.hidden_size}});
  return all;
}

}  // namespace mapl::model
