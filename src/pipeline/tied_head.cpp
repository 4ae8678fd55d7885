#include "pipeline/tied_head.h"

#include <torch/torch.h>

namespace mapl::pipeline {
namespace {

Bytes bytes_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(torch::kCPU).contiguous();
  const auto* first = static_cast<const std::byte*>(flat.data_ptr());
  return Bytes(first, first + flat.nbytes());
}

at::Tensor tensor_of(const Bytes& bytes, const at::Tensor& like) {
  at::Tensor tensor = torch::empty(like.sizes(), torch::kFloat32);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor.to(like.device());
}

}  // namespace

TiedHead::TiedHead(const math::NamedTensors& parameters, Channel* prev, Channel* next,
                   int64_t bytes)
    : prev_(prev), next_(next), bytes_(bytes) {
  for (const auto& [name, tensor] : parameters) {
    if (name == "model.embed_tokens.weight") embedding_ = tensor;
    if (name == "lm_head.weight") head_ = tensor;
  }
}

Result<at::Tensor> TiedHead::exchange(uint64_t step) {
  if (!embedding_.defined() && !head_.defined()) {
    const Status handed = hand_on(step);
    if (!handed.is_ok()) return handed;
    return at::Tensor();
  }
  const Channel::Message message{.kind = link::Kind::kTiedGradient, .step = step};
  at::Tensor embedding_grad = embedding_.defined() ? embedding_.grad() : at::Tensor();
  at::Tensor head_grad = head_.defined() ? head_.grad() : at::Tensor();
  if (!embedding_.defined() || !head_.defined()) {
    Channel& channel = embedding_.defined() ? *next_ : *prev_;
    const at::Tensor& own = embedding_.defined() ? embedding_grad : head_grad;
    const Status sent = channel.send(message, bytes_of(own));
    if (!sent.is_ok()) return sent;
    const auto bytes = channel.recv(message, bytes_);
    if (!bytes.is_ok()) return bytes.status();
    (embedding_.defined() ? head_grad : embedding_grad) = tensor_of(bytes.value(), own);
  }
  const at::Tensor sum = embedding_grad + head_grad;
  if (embedding_.defined()) embedding_.mutable_grad() = sum;
  if (head_.defined()) head_.mutable_grad() = at::Tensor();
  return sum;
}

void TiedHead::share(const at::Tensor& sum) {
  if (head_.defined()) head_.mutable_grad() = sum;
}

Status TiedHead::hand_on(uint64_t step) {
  const Channel::Message message{.kind = link::Kind::kTiedGradient, .step = step};
  for (const auto& [from, to] : {std::pair(next_, prev_), std::pair(prev_, next_)}) {
    auto bytes = from->recv(message, bytes_);
    if (!bytes.is_ok()) return bytes.status();
    const Status sent = to->send(message, std::move(bytes.value()));
    if (!sent.is_ok()) return sent;
  }
  return Status::ok();
}

}  // namespace mapl::pipeline
