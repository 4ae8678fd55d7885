#include "model/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

// MAPL_CLONES is the attribute that compiles a function once for each vector unit, or nothing.
// WHY the pragmas: the compiler may reorder a sum only where it is told so, loop by loop.

namespace mapl::model::kernels {
namespace {

// e^x within 2 units in the last place, on [-87, 88]; beyond, the value at the end.
// 2^n by the exponent's bits, times a Taylor polynomial of the rest, |r| <= ln(2) / 2.
[[gnu::always_inline]] inline float fast_exp(float x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves no room for a fraction
  constexpr float kLn2High = 0x1.62ep-1f, kLn2Low = 0x1.0bfbe8p-15f;
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

[[gnu::always_inline]] inline float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

[[gnu::always_inline]] inline float sum_of_products(const float* a, const float* b, int64_t size) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

[[gnu::always_inline]] inline float maximum(const float* x, int64_t size) {
  float top = x[0];
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < size; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

// x = exp(factor * x - shift), summed.
[[gnu::always_inline]] inline float exponentials(float* x, int64_t size, float factor,
                                                 float shift) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < size; ++i) {
    x[i] = fast_exp(factor * x[i] - shift);
    sum += x[i];
  }
  return sum;
}

}  // namespace

MAPL_CLONES void norm(const float* x, const float* gain, int64_t rows, int64_t d, float eps,
                      float* rstd, float* y) {
  for (int64_t row = 0; row < rows; ++row, x += d, y += d) {
    rstd[row] = 1.0f / std::sqrt(sum_of_products(x, x, d) / static_cast<float>(d) + eps);
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) y[i] = x[i] * rstd[row] * gain[i];
  }
}

MAPL_CLONES void normalise(const float* x, const float* gain, const float* rstd, int64_t rows,
                           int64_t d, float* y) {
  for (int64_t row = 0; row < rows; ++row, x += d, y += d) {
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) y[i] = x[i] * rstd[row] * gain[i];
  }
}

MAPL_CLONES void norm_backward(const NormGradient& g, int64_t rows, int64_t d) {
  const float* gain = g.gain;
  float* dgain = g.dgain;
  for (int64_t row = 0; row < rows; ++row) {
    const float *x = g.x + row * d, *dy = g.dy + row * d, *residual = g.residual + row * d;
    float* dx = g.dx + row * d;
    const float rstd = g.rstd[row];
    float along = 0;
#pragma omp simd reduction(+ : along)
    for (int64_t i = 0; i < d; ++i) along += dy[i] * gain[i] * x[i];
    const float back = along * rstd * rstd * rstd / static_cast<float>(d);
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) {
      dgain[i] += dy[i] * x[i] * rstd;
      dx[i] = residual[i] + (dy[i] * gain[i] * rstd - x[i] * back);
    }
  }
}

MAPL_CLONES void swiglu(const float* gate, const float* up, int64_t size, float* a) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) a[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

MAPL_CLONES void swiglu_backward(const float* gate, const float* up, int64_t size, float* da_dup,
                                 float* a, float* dgate) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const float s = sigmoid(gate[i]), silu = gate[i] * s, da = da_dup[i];
    a[i] = silu * up[i];
    dgate[i] = da * up[i] * (s + silu * (1.0f - s));
    da_dup[i] = da * silu;
  }
}

MAPL_CLONES void rotate(float* row, const float* cos, const float* sin, int64_t heads, int64_t e,
                        float sign) {
  for (int64_t head = 0; head < heads; ++head) {
    float *first = row + head * e, *second = first + e / 2;
#pragma omp simd
    for (int64_t i = 0; i < e / 2; ++i) {
      const float a = first[i], b = second[i], s = sign * sin[i];
      first[i] = a * cos[i] - b * s;
      second[i] = b * cos[i] + a * s;
    }
  }
}

MAPL_CLONES float softmax(float* s, int64_t seen, int64_t width, float scale, float* lse) {
  const float shift = scale * maximum(s, seen);
  const float sum = exponentials(s, seen, scale, shift);
  std::fill(s + seen, s + width, 0.0f);
  *lse = shift + std::log(sum);
  return sum;
}

MAPL_CLONES void softmax_backward(float* s, float* dp, int64_t seen, int64_t width, float scale,
                                  float lse, float delta) {
#pragma omp simd
  for (int64_t i = 0; i < seen; ++i) {
    s[i] = fast_exp(scale * s[i] - lse);
    dp[i] = s[i] * (dp[i] - delta) * scale;
  }
  std::fill(s + seen, s + width, 0.0f);
  std::fill(dp + seen, dp + width, 0.0f);
}

MAPL_CLONES double cross_entropy(float* logits, int64_t size, int64_t target, float scale) {
  const float top = maximum(logits, size), chosen = logits[target];
  const float sum = exponentials(logits, size, 1.0f, top);
  const float factor = scale / sum;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) logits[i] *= factor;
  logits[target] -= scale;
  return std::log(static_cast<double>(sum)) + top - chosen;
}

MAPL_CLONES float dot(const float* a, const float* b, int64_t size) {
  return sum_of_products(a, b, size);
}

MAPL_CLONES void scale(float* x, int64_t size, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) x[i] *= factor;
}

MAPL_CLONES void add(float* x, const float* y, int64_t size) {
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) x[i] += y[i];
}

}  // namespace mapl::model::kernels
