// The shape of a LLaMA, in the words of Hugging Face's config.json.
#pragma once

#include <cstdint>

namespace mapl::model {

struct Config {
  int64_t hidden_size = 128;          // D
  int64_t num_hidden_layers = 8;
  int64_t num_attention_heads = 4;    // H; head size E = D / H
  int64_t num_key_value_heads = 4;    // G; H must be a multiple of it
  int64_t intermediate_size = 344;    // F
  int64_t vocab_size = 4096;          // V
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-5;
  bool tie_word_embeddings = false;
};

}  // namespace mapl::model
