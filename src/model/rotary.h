// Rotary position embedding in the half-split convention of Hugging Face: element i of a head is
// paired with element i + E/2 and the pair is turned by t * theta^(-2 i / E) at position t.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "model/config.h"

namespace mapl::model {

struct Rotary {
  at::Tensor cos_TE;  // [T, E/2], float32
  at::Tensor sin_TE;
};

// Angles in float32, as Hugging Face computes them.
Rotary make_rotary(const Config& config, int64_t sequence_length, const std::string& device);

}  // namespace mapl::model
