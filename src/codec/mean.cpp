#include "codec/mean.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <cstring>

namespace mapl::codec {

Mean::Mean(int64_t columns, const at::Device& device)
    : mean_R_(torch::zeros({columns}, torch::TensorOptions(device))) {}

void Mean::gather(const at::Tensor& z_NR) {
  const at::Tensor sum_R = z_NR.sum(0);
  sum_R_ = sum_R_.defined() ? sum_R_ + sum_R : sum_R;
  num_rows_ += z_NR.size(0);
}

Bytes Mean::announce(bool starts_again) {
  at::Tensor next_R = num_rows_ > 0 ? sum_R_ / num_rows_ : mean_R_;
  if (starts_again) next_R = torch::zeros_like(mean_R_);
  announced_R_ = next_R.to(at::kCPU, at::kFloat).contiguous();
  const auto* begin = static_cast<const std::byte*>(announced_R_.data_ptr());
  return {begin, begin + announced_R_.nbytes()};
}

Status Mean::read_announced(ByteSpan bytes) {
  if (static_cast<int64_t>(bytes.size()) != announced_bytes()) {
    return {Code::kCorrupt, fmt::format("the mean of what crossed takes {} bytes, {} arrived",
                                        announced_bytes(), bytes.size())};
  }
  const at::Tensor host_R = torch::empty(mean_R_.sizes(), torch::kFloat);
  std::memcpy(host_R.data_ptr(), bytes.data(), bytes.size());
  if (!host_R.isfinite().all().item<bool>()) {
    return {Code::kCorrupt, "the mean of what crossed holds a value that is not finite"};
  }
  announced_R_ = host_R;
  return Status::ok();
}

void Mean::commit() {
  if (announced_R_.defined()) mean_R_.copy_(announced_R_);
  abort();
}

void Mean::abort() {
  announced_R_.reset();
  sum_R_.reset();
  num_rows_ = 0;
}

}  // namespace mapl::codec
