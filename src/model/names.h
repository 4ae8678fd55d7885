// The parameters of a LLaMA by Hugging Face's global names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace mapl::model {

inline constexpr const char* kEmbedding = "model.embed_tokens.weight";  // [V, D]
inline constexpr const char* kFinalNorm = "model.norm.weight";          // [D]
inline constexpr const char* kHead = "lm_head.weight";                  // [V, D]

struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;  // weights are [out, in]
};

// The nine parameters of one layer, in the order input norm, q, k, v, o, post-attention norm, gate,
// up, down.
std::vector<NamedShape> layer_shapes(const Config& config, int64_t layer);

// All parameters, in the model's order. The head is listed whether tied or not.
std::vector<NamedShape> parameter_shapes(const Config& config);

}  // namespace mapl::model
