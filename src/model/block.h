// One layer of a LLaMA: attention and MLP, each behind an RMSNorm and beside a residual.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/config.h"
#include "model/rotary.h"

namespace mapl::model {

// The parameters of one layer, float32, weights [out, in].
struct Layer {
  at::Tensor input_norm, q, k, v, o, post_attention_norm, gate, up, down;
};

// x + attention(norm(x)), then the same with the MLP.
//   x_ND     [B*T, D], float32, row b*T + t
//   returns  [B*T, D]
at::Tensor block(const Config& config, const Layer& layer, const Rotary& rotary,
                 const at::Tensor& x_ND, int64_t batch);

}  // namespace mapl::model
