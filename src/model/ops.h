// The steps of a layer, forward and backward, each with its gradient written by hand. Two makes:
// fused loops for the CPU, and tensor operations for every other device. No autograd inside.
//
// All tensors are float32 and contiguous, ids and targets int64. Results are the same bits at any
// number of threads, matrix products of the BLAS apart.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "model/rotary.h"

namespace mapl::model {

// How the columns of q_ND and k_NG divide into heads, and their rows into sequences.
struct Heads {
  int64_t batch = 1;           // B; row b*T + t
  int64_t num_queries = 1;     // H
  int64_t num_key_values = 1;  // G; query head h reads key-value head h / (H / G)
  int64_t size = 2;            // E
};

class Ops {
 public:
  // The make for the device of `x`.
  static const Ops& of(const at::Tensor& x);
  static const Ops& fused();     // REQUIRES: tensors of the CPU
  static const Ops& composed();  // any device

  virtual ~Ops() = default;

  // RMSNorm: y = x * rstd * gain, rstd_N = (mean of x^2 + eps)^(-1/2).
  virtual std::pair<at::Tensor, at::Tensor> norm(const at::Tensor& x_ND, const at::Tensor& gain_D,
                                                 double eps) const = 0;  // y, rstd
  // y again, from a known rstd.
  virtual at::Tensor normalise(const at::Tensor& x_ND, const at::Tensor& gain_D,
                               const at::Tensor& rstd_N) const = 0;
  struct NormGradient {
    at::Tensor dx_ND;  // with `residual_ND` added
    at::Tensor dgain_D;
  };
  virtual NormGradient norm_backward(const at::Tensor& x_ND, const at::Tensor& gain_D,
                                     const at::Tensor& rstd_N, const at::Tensor& dy_ND,
                                     const at::Tensor& residual_ND) const = 0;

  // Turns every head of x [B*T, heads*E] by the angle of its position, in place; `sign` -1 turns
  // back.
  virtual void rotate_(at::Tensor& x, const Rotary& rotary, const Heads& heads,
                       double sign) const = 0;

  // Causal softmax(q k^T / sqrt(E)) v.
  struct Attention {
    at::Tensor out_ND;
    at::Tensor lse_BHT;  // logarithm of the sum of the exponentials of each row
  };
  virtual Attention attention(const at::Tensor& q_ND, const at::Tensor& k_NG,
                              const at::Tensor& v_NG, const Heads& heads) const = 0;
  struct AttentionGradient {
    at::Tensor dq_ND, dk_NG, dv_NG;
  };
  virtual AttentionGradient attention_backward(const at::Tensor& q_ND, const at::Tensor& k_NG,
                                               const at::Tensor& v_NG, const Attention& forward,
                                               const at::Tensor& dout_ND,
                                               const Heads& heads) const = 0;

  // SwiGLU: a = silu(gate) * up, and its gradients with `a` computed again.
  virtual at::Tensor swiglu(const at::Tensor& gate_NF, const at::Tensor& up_NF) const = 0;
  struct SwigluGradient {
    at::Tensor a_NF, dgate_NF, dup_NF;
  };
  // `da_NF` is used up: its memory may become one of the results.
  virtual SwigluGradient swiglu_backward(const at::Tensor& gate_NF, const at::Tensor& up_NF,
                                         at::Tensor da_NF) const = 0;

  // Sum of the cross entropy of the rows, float64. The logits become scale * (softmax - one_hot).
  virtual at::Tensor cross_entropy_(at::Tensor& logits_NV, const at::Tensor& targets_N,
                                    double scale) const = 0;

  // sum_VD[ids[n]] += rows_ND[n], in the order of n.
  virtual void add_rows_(at::Tensor& sum_VD, const at::Tensor& ids_N,
                         const at::Tensor& rows_ND) const = 0;
};

}  // namespace mapl::model
