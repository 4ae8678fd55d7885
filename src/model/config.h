// The shape of a LLaMA, in the words of Hugging Face's config.json.
#pragma once

#include <cstdint>

namespace mapl::model {

struct Config {
  int64_t hidden_size = 128;  // D
  int64_t num_hidden_layers = 8;
  int64_t num_attention_heads = 4;  // H; head size E = D / H
  int64_t num_key_value_heads = 4;  // G; H must be a multiple of it
  int64_t intermediate_size = 344;  // F
  int64_t vocab_size = 4096;        // V
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;
};

// E, the width of one head.
inline int64_t head_size(const Config& config) {
  return config.hidden_size / config.num_attention_heads;
}

// ERRORS  UserError when no LLaMA has this shape: a size that is not positive, heads that do not
// divide
//         hidden_size, key-value heads that do not divide the heads, an odd head size.
void validate(const Config& config);

}  // namespace mapl::model
