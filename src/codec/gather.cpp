#include "codec/gather.h"

#include <torch/torch.h>

#include "base/check.h"

namespace mapl::codec {
namespace {

template <typename T>
void add_rows(at::Tensor& sum_VR, const at::Tensor& ids_N, const at::Tensor& rows_NR) {
  T* sum = sum_VR.data_ptr<T>();
  const auto* ids = ids_N.data_ptr<int64_t>();
  const T* row = rows_NR.data_ptr<T>();
  const int64_t width = rows_NR.size(1);
  for (int64_t n = 0; n < ids_N.numel(); ++n, row += width) {
    T* into = sum + ids[n] * width;
    for (int64_t r = 0; r < width; ++r) into[r] += row[r];
  }
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& table_VR,
                            const at::Tensor& ids_N, int64_t touched_address) {
    // WHY not save_for_backward: the values are not needed, only the place of the gradient.
    context->saved_data["table"] = table_VR;
    context->saved_data["ids"] = ids_N;
    context->saved_data["touched"] = touched_address;
    return table_VR.index_select(0, ids_N);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    at::NoGradGuard no_grad;
    at::Tensor table_VR = context->saved_data["table"].toTensor();
    const at::Tensor ids_N = context->saved_data["ids"].toTensor();
    at::Tensor& sum_VR = table_VR.mutable_grad();
    if (!sum_VR.defined()) sum_VR = torch::zeros_like(table_VR);
    const at::Tensor rows_NR = grads[0].contiguous();
    if (auto* touched =
            reinterpret_cast<math::TouchedRows*>(context->saved_data["touched"].toInt())) {
      const at::Tensor ids = ids_N.cpu();
      const auto* id = ids.data_ptr<int64_t>();
      for (int64_t n = 0; n < ids.numel(); ++n) touched->add(id[n]);
    }
    if (!sum_VR.is_cpu()) {
      sum_VR.index_put_({ids_N}, rows_NR, /*accumulate=*/true);  // index_add_: in no fixed order
    } else if (sum_VR.scalar_type() == at::kDouble) {
      add_rows<double>(sum_VR, ids_N, rows_NR);
    } else {
      add_rows<float>(sum_VR, ids_N, rows_NR);
    }
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor gather_rows(const at::Tensor& table_VR, const at::Tensor& ids_N,
                       math::TouchedRows* touched) {
  MAPL_CHECK(table_VR.is_leaf() && table_VR.is_contiguous(), "the table is a contiguous leaf");
  return GatherRows::apply(table_VR, ids_N.contiguous(), reinterpret_cast<int64_t>(touched));
}

}  // namespace mapl::codec
