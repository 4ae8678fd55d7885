#include "model/ends.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/check.h"
#include "model/gradient.h"
#include "model/ops.h"

namespace mapl::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows whose logits exist at one time: enough for the matrix products, and 16 MB where that allows.
int64_t rows_per_chunk(int64_t vocab_size) {
  return std::max<int64_t>(256, (1 << 22) / vocab_size);
}

void check_ids(const at::Tensor& ids, int64_t vocab_size) {
  if (!ids.is_cpu() || ids.numel() == 0) return;  // other devices check by themselves
  const int64_t low = ids.min().item<int64_t>(), high = ids.max().item<int64_t>();
  MAPL_CHECK(low >= 0 && high < vocab_size, "ids {} to {} of a vocabulary of {}", low, high,
             vocab_size);
}

struct EmbedFunction : torch::autograd::Function<EmbedFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& ids) {
    context->save_for_backward({weight, ids});
    return weight.index_select(0, ids);
  }

  static variable_list backward(AutogradContext* context, variable_list dx) {
    const variable_list saved = context->get_saved_variables();
    at::Tensor& grad = saved[0].mutable_grad();
    if (!grad.defined()) grad = at::zeros_like(saved[0]);
    Ops::of(grad).add_rows_(grad, saved[1], dx[0].contiguous());
    return {{}, {}};
  }
};

struct HeadGradient {
  at::Tensor dh_ND, dweight_VD;
};

// Loss of the rows of h, divided by `divisor`; with `gradient`, also its gradients, chunk by chunk.
at::Tensor loss_of(const at::Tensor& h_ND, const at::Tensor& weight_VD, const at::Tensor& targets_N,
                   double divisor, HeadGradient* gradient) {
  const Ops& ops = Ops::of(h_ND);
  at::Tensor total = at::zeros({}, h_ND.options().dtype(at::kDouble));
  const int64_t chunk = rows_per_chunk(weight_VD.size(0));
  for (int64_t first = 0; first < h_ND.size(0); first += chunk) {
    const int64_t rows = std::min(chunk, h_ND.size(0) - first);
    const at::Tensor h = h_ND.narrow(0, first, rows);
    at::Tensor logits = at::mm(h, weight_VD.t());
    total += ops.cross_entropy_(logits, targets_N.narrow(0, first, rows), 1 / divisor);
    if (gradient == nullptr) continue;
    at::Tensor dh = gradient->dh_ND.narrow(0, first, rows);
    at::mm_out(dh, logits, weight_VD);
    gradient->dweight_VD.addmm_(logits.t(), h, /*beta=*/first == 0 ? 0 : 1);
  }
  return (total / divisor).to(at::kFloat);
}

// The logits are too many to keep, so the gradients are made in the forward pass, for a loss whose
// own gradient is 1, and scaled in the backward pass.
struct HeadFunction : torch::autograd::Function<HeadFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gain,
                            const Head& head, const at::Tensor& targets, double divisor,
                            bool with_gradient) {
    const auto [h, rstd] = Ops::of(x).norm(x, gain, head.eps);
    if (!with_gradient) return loss_of(h, head.weight_VD, targets, divisor, nullptr);
    HeadGradient gradient{at::empty_like(x), at::empty_like(head.weight_VD)};
    const at::Tensor loss = loss_of(h, head.weight_VD, targets, divisor, &gradient);
    context->save_for_backward(
        {x, gain, rstd, head.weight_VD, gradient.dh_ND, gradient.dweight_VD});
    return loss;
  }

  static variable_list backward(AutogradContext* context, variable_list dloss) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &gain = saved[1], &rstd = saved[2], &weight = saved[3];
    const at::Tensor dh = saved[4] * dloss[0];
    add_gradient(weight, saved[5] * dloss[0]);
    const Ops::NormGradient norm = Ops::of(x).norm_backward(x, gain, rstd, dh, at::zeros_like(x));
    add_gradient(gain, norm.dgain_D);
    return {norm.dx_ND, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor embed(const at::Tensor& weight_VD, const at::Tensor& ids) {
  check_ids(ids, weight_VD.size(0));
  return EmbedFunction::apply(weight_VD, ids.flatten());
}

at::Tensor head_loss(const Head& head, const at::Tensor& x_ND, const at::Tensor& targets_N,
                     double divisor) {
  check_ids(targets_N, head.weight_VD.size(0));
  const bool with_gradient = at::GradMode::is_enabled() && head.norm_D.requires_grad();
  return HeadFunction::apply(x_ND, head.norm_D, head, targets_N.contiguous(), divisor,
                             with_gradient);
}

}  // namespace mapl::model
