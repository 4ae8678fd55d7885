#include <torch/torch.h>

#include <algorithm>

#include "model/attention_cpu.h"
#include "model/kernels.h"
#include "model/ops.h"

namespace mapl::model {
namespace {

constexpr int64_t kRowsPerThread = 32;  // fewer are not worth a thread
// A gain's gradient is summed in parts of so many rows: a fixed number, so that its bits are fixed.
constexpr int64_t kRowsPerPartial = 128;

const float* data(const at::Tensor& x) { return x.data_ptr<float>(); }
float* data(at::Tensor& x) { return x.data_ptr<float>(); }

// body(offset of the row, its width). Row by row, so that no row's bits depend on the thread that
// has it.
template <typename Body>
void for_each_row(const at::Tensor& x, const Body& body) {
  const int64_t width = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerThread, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row * width, width);
  });
}

class Fused : public Ops {
 public:
  std::pair<at::Tensor, at::Tensor> norm(const at::Tensor& x_ND, const at::Tensor& gain_D,
                                         double eps) const override {
    const int64_t n = x_ND.size(0), d = x_ND.size(1);
    at::Tensor y_ND = at::empty_like(x_ND), rstd_N = at::empty({n}, x_ND.options());
    at::parallel_for(0, n, kRowsPerThread, [&](int64_t begin, int64_t end) {
      kernels::norm(data(x_ND) + begin * d, data(gain_D), end - begin, d, static_cast<float>(eps),
                    data(rstd_N) + begin, data(y_ND) + begin * d);
    });
    return {y_ND, rstd_N};
  }

  at::Tensor normalise(const at::Tensor& x_ND, const at::Tensor& gain_D,
                       const at::Tensor& rstd_N) const override {
    const int64_t d = x_ND.size(1);
    at::Tensor y_ND = at::empty_like(x_ND);
    at::parallel_for(0, x_ND.size(0), kRowsPerThread, [&](int64_t begin, int64_t end) {
      kernels::normalise(data(x_ND) + begin * d, data(gain_D), data(rstd_N) + begin, end - begin, d,
                         data(y_ND) + begin * d);
    });
    return y_ND;
  }

  NormGradient norm_backward(const at::Tensor& x_ND, const at::Tensor& gain_D,
                             const at::Tensor& rstd_N, const at::Tensor& dy_ND,
                             const at::Tensor& residual_ND) const override {
    const int64_t n = x_ND.size(0), d = x_ND.size(1);
    const int64_t num_partials = (n + kRowsPerPartial - 1) / kRowsPerPartial;
    at::Tensor dx_ND = at::empty_like(x_ND), partial = at::zeros({num_partials, d}, x_ND.options());
    at::parallel_for(0, num_partials, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t row = p * kRowsPerPartial, at = row * d;
        kernels::norm_backward({data(x_ND) + at, data(gain_D), data(rstd_N) + row, data(dy_ND) + at,
                                data(residual_ND) + at, data(dx_ND) + at, data(partial) + p * d},
                               std::min(kRowsPerPartial, n - row), d);
      }
    });
    return {dx_ND, partial.sum(0)};
  }

  void rotate_(at::Tensor& x, const Rotary& rotary, const Heads& heads,
               double sign) const override {
    const int64_t t = x.size(0) / heads.batch, e = heads.size;
    for_each_row(x, [&](int64_t at, int64_t width) {
      const int64_t angle = at / width % t * (e / 2);
      kernels::rotate(data(x) + at, data(rotary.cos_TE) + angle, data(rotary.sin_TE) + angle,
                      width / e, e, static_cast<float>(sign));
    });
  }

  Attention attention(const at::Tensor& q_ND, const at::Tensor& k_NG, const at::Tensor& v_NG,
                      const Heads& heads) const override {
    return attention_cpu(q_ND, k_NG, v_NG, heads);
  }

  AttentionGradient attention_backward(const at::Tensor& q_ND, const at::Tensor& k_NG,
                                       const at::Tensor& v_NG, const Attention& forward,
                                       const at::Tensor& dout_ND,
                                       const Heads& heads) const override {
    return attention_cpu_backward(q_ND, k_NG, v_NG, forward, dout_ND, heads);
  }

  at::Tensor swiglu(const at::Tensor& gate_NF, const at::Tensor& up_NF) const override {
    at::Tensor a_NF = at::empty_like(gate_NF);
    for_each_row(a_NF, [&](int64_t at, int64_t f) {
      kernels::swiglu(data(gate_NF) + at, data(up_NF) + at, f, data(a_NF) + at);
    });
    return a_NF;
  }

  SwigluGradient swiglu_backward(const at::Tensor& gate_NF, const at::Tensor& up_NF,
                                 at::Tensor da_NF) const override {
    at::Tensor a_NF = at::empty_like(gate_NF), dgate_NF = at::empty_like(gate_NF);
    for_each_row(a_NF, [&](int64_t at, int64_t f) {
      kernels::swiglu_backward(data(gate_NF) + at, data(up_NF) + at, f, data(da_NF) + at,
                               data(a_NF) + at, data(dgate_NF) + at);
    });
    return {a_NF, dgate_NF, da_NF};
  }

  at::Tensor cross_entropy_(at::Tensor& logits_NV, const at::Tensor& targets_N,
                            double scale) const override {
    const int64_t n = logits_NV.size(0), v = logits_NV.size(1);
    at::Tensor loss_N = at::empty({n}, at::kDouble);
    const int64_t* targets = targets_N.data_ptr<int64_t>();
    double* loss = loss_N.data_ptr<double>();
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        loss[row] = kernels::cross_entropy(data(logits_NV) + row * v, v, targets[row],
                                           static_cast<float>(scale));
      }
    });
    return loss_N.sum();
  }

  void add_rows_(at::Tensor& sum_VD, const at::Tensor& ids_N,
                 const at::Tensor& rows_ND) const override {
    const int64_t* ids = ids_N.data_ptr<int64_t>();
    const int64_t d = rows_ND.size(1);
    for (int64_t row = 0; row < rows_ND.size(0); ++row) {
      kernels::add(data(sum_VD) + ids[row] * d, data(rows_ND) + row * d, d);
    }
  }
};

}  // namespace

const Ops& Ops::fused() {
  static const Fused ops;
  return ops;
}

}  // namespace mapl::model
