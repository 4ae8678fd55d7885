// Causal attention on the CPU, head by head and in blocks of query rows: a block meets only the
// keys that it may see, and no more than one block of scores exists at a time
// (docs/maths/attention.md).
#pragma once

#include "model/ops.h"

namespace mapl::model {

// As Ops::attention and Ops::attention_backward.
Ops::Attention attention_cpu(const at::Tensor& q_ND, const at::Tensor& k_NG, const at::Tensor& v_NG,
                             const Heads& heads);
Ops::AttentionGradient attention_cpu_backward(const at::Tensor& q_ND, const at::Tensor& k_NG,
                                              const at::Tensor& v_NG, const Ops::Attention& forward,
                                              const at::Tensor& dout_ND, const Heads& heads);

}  // namespace mapl::model
