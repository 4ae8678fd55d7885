#include "codec/basis_restart.h"

#include <torch/torch.h>

#include "math/stiefel.h"

namespace mapl::codec {

BasisRestart::BasisRestart(const Options& options) : steps_(options.steps) {
  if (steps_ == 0) return;
  moment_DD_ = torch::zeros({options.hidden_size, options.hidden_size},
                            torch::TensorOptions(at::Device(options.device)));
  is_done_ = torch::zeros({1}, torch::kLong);
}

bool BasisRestart::is_due(int64_t steps, uint64_t step) {
  return steps > 0 && static_cast<int64_t>(step) + 1 == steps;
}

bool BasisRestart::gathers() const {
  return is_done_.defined() && *is_done_.data_ptr<int64_t>() == 0;
}

void BasisRestart::gather(const at::Tensor& residual_ND) {
  if (!step_moment_DD_.defined()) step_moment_DD_ = torch::zeros_like(moment_DD_);
  step_moment_DD_.addmm_(residual_ND.t(), residual_ND);
}

at::Tensor BasisRestart::directions(int64_t rank) const {
  return math::principal_directions(
      step_moment_DD_.defined() ? moment_DD_ + step_moment_DD_ : moment_DD_, rank);
}

void BasisRestart::commit(uint64_t step) {
  if (step_moment_DD_.defined()) moment_DD_.add_(step_moment_DD_);
  // WHY beyond the step too: a boundary that begins after it would gather to no end.
  if (steps_ > 0 && static_cast<int64_t>(step) + 1 >= steps_) {
    is_done_.fill_(1);
    moment_DD_.zero_();
  }
  abort();
}

void BasisRestart::abort() { step_moment_DD_.reset(); }

math::NamedTensors BasisRestart::state() {
  if (steps_ == 0) return {};
  return {{"residual_moment", moment_DD_}, {"restarted", is_done_}};
}

}  // namespace mapl::codec
