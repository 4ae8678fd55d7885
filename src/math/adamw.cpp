#include "math/adamw.h"

#include <torch/torch.h>

#include <cmath>

namespace mapl::math {

// One step's numbers, as both the loop and the tensor operations use them.
struct AdamW::Factors {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float keep;  // 1 - lr decay
  float rate;  // lr / (1 - beta1^t)
  float root;  // 1 / sqrt(1 - beta2^t)
  float eps;
};

namespace {

// A separate function so that the compiler sees no aliasing and vectorises. The loop is bound by
// memory (28 bytes an element), so wider vectors than the default's gain nothing.
template <typename Factors>
void fused_pass(int64_t size, const Factors& f, const float* __restrict gradient,
                float* __restrict exp_avg, float* __restrict exp_avg_sq, float* __restrict value) {
  for (int64_t i = 0; i < size; ++i) {
    const float g = gradient[i] * f.gradient_scale;
    const float m = f.beta1 * exp_avg[i] + f.one_minus_beta1 * g;
    const float v = f.beta2 * exp_avg_sq[i] + f.one_minus_beta2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    value[i] = f.keep * value[i] - f.rate * m / (std::sqrt(v) * f.root + f.eps);
  }
}

template <typename Factors>
void tensor_pass(const Factors& f, const at::Tensor& gradient, AdamW::State& state,
                 at::Tensor& value) {
  const auto g = gradient * f.gradient_scale;
  state.exp_avg.mul_(f.beta1).add_(g, f.one_minus_beta1);
  state.exp_avg_sq.mul_(f.beta2).addcmul_(g, g, f.one_minus_beta2);
  value.mul_(f.keep).addcdiv_(state.exp_avg, state.exp_avg_sq.sqrt().mul_(f.root).add_(f.eps),
                              -f.rate);
}

bool can_fuse(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace

AdamW::Factors AdamW::next_factors(double lr_factor, double gradient_scale, State& state) const {
  ++state.step;
  const double lr = options_.lr * lr_factor;
  const double t = static_cast<double>(state.step);
  return {
      .gradient_scale = static_cast<float>(gradient_scale),
      .beta1 = static_cast<float>(options_.beta1),
      .one_minus_beta1 = static_cast<float>(1.0 - options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .one_minus_beta2 = static_cast<float>(1.0 - options_.beta2),
      .keep = static_cast<float>(1.0 - lr * options_.weight_decay),
      .rate = static_cast<float>(lr / (1.0 - std::pow(options_.beta1, t))),
      .root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, t))),
      .eps = static_cast<float>(options_.eps),
  };
}

void AdamW::update(const at::Tensor& gradient, double lr_factor, double gradient_scale,
                   State& state, at::Tensor& value) const {
  at::NoGradGuard no_grad;
  const Factors factors = next_factors(lr_factor, gradient_scale, state);
  if (can_fuse(value) && can_fuse(state.exp_avg) && can_fuse(state.exp_avg_sq)) {
    const auto dense = gradient.contiguous();
    fused_pass(value.numel(), factors, dense.data_ptr<float>(), state.exp_avg.data_ptr<float>(),
               state.exp_avg_sq.data_ptr<float>(), value.data_ptr<float>());
  } else {
    tensor_pass(factors, gradient, state, value);
  }
}

void AdamW::update_rows(const std::vector<int64_t>& rows, const at::Tensor& gradient,
                        double lr_factor, double gradient_scale, State& state,
                        at::Tensor& value) const {
  at::NoGradGuard no_grad;
  const Factors factors = next_factors(lr_factor, gradient_scale, state);
  if (can_fuse(gradient) && can_fuse(value) && can_fuse(state.exp_avg) &&
      can_fuse(state.exp_avg_sq)) {
    const int64_t width = value.size(1);
    for (const int64_t row : rows) {
      const int64_t at = row * width;
      fused_pass(width, factors, gradient.data_ptr<float>() + at,
                 state.exp_avg.data_ptr<float>() + at, state.exp_avg_sq.data_ptr<float>() + at,
                 value.data_ptr<float>() + at);
    }
    return;
  }
  const at::Tensor index = torch::tensor(rows).to(value.device());
  State some{state.exp_avg.index_select(0, index), state.exp_avg_sq.index_select(0, index), 0};
  at::Tensor moved = value.index_select(0, index);
  tensor_pass(factors, gradient.index_select(0, index), some, moved);
  state.exp_avg.index_copy_(0, index, some.exp_avg);
  state.exp_avg_sq.index_copy_(0, index, some.exp_avg_sq);
  value.index_copy_(0, index, moved);
}

}  // namespace mapl::math
