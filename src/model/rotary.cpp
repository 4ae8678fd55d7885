#include "model/rotary.h"

#include <torch/torch.h>

namespace mapl::model {

Rotary make_rotary(const Config& config, int64_t sequence_length, const std::string& device) {
  const int64_t size = head_size(config);
  const at::Tensor exponent =
      torch::arange(0, size, 2, torch::kFloat32) / static_cast<double>(size);
  const at::Tensor frequency = 1.0 / torch::pow(config.rope_theta, exponent);
  const at::Tensor angle_TE =
      torch::outer(torch::arange(sequence_length, torch::kFloat32), frequency);
  return {angle_TE.cos().to(device), angle_TE.sin().to(device)};
}

}  // namespace mapl::model
