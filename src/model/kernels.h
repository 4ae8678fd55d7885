// The inner loops of the model on the CPU: rows of float32, row-major, no tensor in sight. Each row
// is computed alone, so that results do not depend on how rows are shared among threads.
//
// Compiled once for every vector unit worth having; the loader picks (CMakeLists.txt).
#pragma once

#include <cstdint>

namespace mapl::model::kernels {

// y = x * rstd * gain with rstd = 1 / sqrt(mean(x^2) + eps), for `rows` rows of d.
void norm(const float* x, const float* gain, int64_t rows, int64_t d, float eps, float* rstd,
          float* y);

// The same with rstd known.
void normalise(const float* x, const float* gain, const float* rstd, int64_t rows, int64_t d,
               float* y);

struct NormGradient {
  const float *x, *gain, *rstd, *dy, *residual;
  float *dx, *dgain;
};
// dx = residual + the gradient of norm; dgain += that of the gain.
void norm_backward(const NormGradient& g, int64_t rows, int64_t d);

// a = silu(gate) * up, `size` values.
void swiglu(const float* gate, const float* up, int64_t size, float* a);

// a again; dgate; and da becomes dup.
void swiglu_backward(const float* gate, const float* up, int64_t size, float* da_dup, float* a,
                     float* dgate);

// Turns the pairs (i, i + e/2) of every head of one row by the angles of its position. `sign` -1
// turns back.
void rotate(float* row, const float* cos, const float* sin, int64_t heads, int64_t e, float sign);

// One row of scores that sees its first `seen` columns: s becomes exp(scale * s - max), 0 beyond
// `seen` and up to `width`. Returns the sum; *lse is the logarithm of the sum of exp(scale * s).
float softmax(float* s, int64_t seen, int64_t width, float scale, float* lse);

// The same row in the backward pass: s becomes the softmax, dp the gradient of s.
//   delta  sum over the row of softmax * dp
void softmax_backward(float* s, float* dp, int64_t seen, int64_t width, float scale, float lse,
                      float delta);

// Cross entropy of one row of logits, which become scale * (softmax - one_hot(target)).
double cross_entropy(float* logits, int64_t size, int64_t target, float scale);

float dot(const float* a, const float* b, int64_t size);
void scale(float* x, int64_t size, float factor);
void add(float* x, const float* y, int64_t size);

}  // namespace mapl::model::kernels
