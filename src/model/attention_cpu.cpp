#include "model/attention_cpu.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "model/kernels.h"

namespace mapl::model {
namespace {

// Query rows of a block: tall enough for the matrix products, low enough to waste few masked
// scores.
constexpr int64_t kBlock = 64;

// One head of one sequence: [T, E], rows apart by the whole width.
at::Tensor head_of(const at::Tensor& x, const Heads& heads, int64_t b, int64_t head) {
  const int64_t t = x.size(0) / heads.batch, width = x.size(1);
  return x.as_strided({t, heads.size}, {width, 1},
                      x.storage_offset() + b * t * width + head * heads.size);
}

at::Tensor top(const at::Tensor& x, int64_t num_rows) { return x.narrow(0, 0, num_rows); }

at::Tensor block_of(const at::Tensor& scratch, int64_t num_rows, int64_t num_columns) {
  return scratch.as_strided({num_rows, num_columns}, {num_columns, 1}, 0);
}

// body(b, g) for every sequence and key-value head. No two calls write the same memory.
template <typename Body>
void for_each_group(const Heads& heads, const Body& body) {
  const int64_t groups = heads.num_key_values;
  at::parallel_for(0, heads.batch * groups, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    for (int64_t i = begin; i < end; ++i) body(i / groups, i % groups);
  });
}

float score_scale(const Heads& heads) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(heads.size)));
}

// out and lse [T] of one query head.
void head_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, at::Tensor out,
                  const at::Tensor& scratch, float* lse, float scale) {
  const int64_t t = q.size(0), e = q.size(1), stride = out.stride(0);
  for (int64_t first = 0; first < t; first += kBlock) {
    const int64_t rows = std::min(kBlock, t - first), seen = first + rows;
    at::Tensor score = block_of(scratch, rows, seen);
    at::mm_out(score, q.narrow(0, first, rows), top(k, seen).t());
    float* s = score.data_ptr<float>();
    float sums[kBlock];
    for (int64_t i = 0; i < rows; ++i) {
      sums[i] = kernels::softmax(s + i * seen, first + i + 1, seen, scale, lse + first + i);
    }
    at::Tensor part = out.narrow(0, first, rows);
    at::mm_out(part, score, top(v, seen));
    float* y = part.data_ptr<float>();
    for (int64_t i = 0; i < rows; ++i) kernels::scale(y + i * stride, e, 1.0f / sums[i]);
  }
}

struct HeadGradient {
  at::Tensor q, k, v, out, dout;  // [T, E]
  const float* lse;               // [T]
  at::Tensor dq, dk, dv;          // [T, E]
  bool is_first_of_group;         // dk and dv hold nothing yet
};

// WHY from the last block: it sees all keys, and so sets every row of dk and dv before others add.
void head_backward(HeadGradient& h, const at::Tensor& scratch_s, const at::Tensor& scratch_dp,
                   float scale) {
  const int64_t t = h.q.size(0), e = h.q.size(1), stride = h.out.stride(0);
  const float *out = h.out.data_ptr<float>(), *dout = h.dout.data_ptr<float>();
  const int64_t last = (t - 1) / kBlock * kBlock;
  for (int64_t first = last; first >= 0; first -= kBlock) {
    const int64_t rows = std::min(kBlock, t - first), seen = first + rows;
    const double keep = first == last && h.is_first_of_group ? 0 : 1;
    const at::Tensor q = h.q.narrow(0, first, rows), dy = h.dout.narrow(0, first, rows);
    at::Tensor score = block_of(scratch_s, rows, seen), dscore = block_of(scratch_dp, rows, seen);
    at::mm_out(score, q, top(h.k, seen).t());
    at::mm_out(dscore, dy, top(h.v, seen).t());
    float *s = score.data_ptr<float>(), *dp = dscore.data_ptr<float>();
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = first + i;
      const float delta = kernels::dot(out + row * stride, dout + row * stride, e);
      kernels::softmax_backward(s + i * seen, dp + i * seen, row + 1, seen, scale, h.lse[row],
                                delta);
    }
    top(h.dv, seen).addmm_(score.t(), dy, keep);
    top(h.dk, seen).addmm_(dscore.t(), q, keep);
    at::Tensor dq = h.dq.narrow(0, first, rows);
    at::mm_out(dq, dscore, top(h.k, seen));
  }
}

}  // namespace

Ops::Attention attention_cpu(const at::Tensor& q_ND, const at::Tensor& k_NG, const at::Tensor& v_NG,
                             const Heads& heads) {
  const int64_t t = q_ND.size(0) / heads.batch, share = heads.num_queries / heads.num_key_values;
  Ops::Attention result{at::empty_like(q_ND),
                        at::empty({heads.batch, heads.num_queries, t}, q_ND.options())};
  float* lse = result.lse_BHT.data_ptr<float>();
  for_each_group(heads, [&](int64_t b, int64_t g) {
    const at::Tensor scratch = at::empty({std::min(kBlock, t) * t}, q_ND.options());
    const at::Tensor k = head_of(k_NG, heads, b, g), v = head_of(v_NG, heads, b, g);
    for (int64_t h = g * share; h < (g + 1) * share; ++h) {
      head_forward(head_of(q_ND, heads, b, h), k, v, head_of(result.out_ND, heads, b, h), scratch,
                   lse + (b * heads.num_queries + h) * t, score_scale(heads));
    }
  });
  return result;
}

Ops::AttentionGradient attention_cpu_backward(const at::Tensor& q_ND, const at::Tensor& k_NG,
                                              const at::Tensor& v_NG, const Ops::Attention& forward,
                                              const at::Tensor& dout_ND, const Heads& heads) {
  const int64_t t = q_ND.size(0) / heads.batch, share = heads.num_queries / heads.num_key_values;
  Ops::AttentionGradient result{at::empty_like(q_ND), at::empty_like(k_NG), at::empty_like(v_NG)};
  const float* lse = forward.lse_BHT.data_ptr<float>();
  for_each_group(heads, [&](int64_t b, int64_t g) {
    const at::Tensor scratch_s = at::empty({std::min(kBlock, t) * t}, q_ND.options());
    const at::Tensor scratch_dp = at::empty_like(scratch_s);
    const auto of = [&](const at::Tensor& x, int64_t head) { return head_of(x, heads, b, head); };
    for (int64_t h = g * share; h < (g + 1) * share; ++h) {
      HeadGradient head{of(q_ND, h),         of(k_NG, g),
                        of(v_NG, g),         of(forward.out_ND, h),
                        of(dout_ND, h),      lse + (b * heads.num_queries + h) * t,
                        of(result.dq_ND, h), of(result.dk_NG, g),
                        of(result.dv_NG, g), h == g * share};
      head_backward(head, scratch_s, scratch_dp, score_scale(heads));
    }
  });
  return result;
}

}  // namespace mapl::model
