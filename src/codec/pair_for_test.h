// Both ends of one boundary, small enough to check by hand, and a step through them.
#pragma once

#include <torch/torch.h>

#include <string>

#include "base/check.h"
#include "codec/codec.h"

namespace mapl::codec {

constexpr int64_t kRows = 12;
constexpr int64_t kHidden = 16;
constexpr int64_t kVocab = 7;

inline EndOptions end_options(const Options& codec, const std::string& side, uint64_t seed = 5) {
  torch::manual_seed(99);
  return {.codec = codec,
          .boundary = 2,
          .hidden_size = kHidden,
          .rows = kRows,
          .seed = seed,
          .anchor = make_anchor({.name = "boundary.2." + side + ".anchor",
                                 .kind = codec.anchor,
                                 .rank = 3,
                                 .seed = seed,
                                 .embedding_VD = torch::randn({kVocab, kHidden}),
                                 .sparse = codec.sparse_anchors,
                                 .ngram = static_cast<int>(codec.ngram),
                                 .ngram_entries = 11,
                                 .ngram_rank = 2,
                                 .sequence_length = 4})};
}

inline at::Tensor find(const math::NamedTensors& named, const std::string& ending) {
  for (const auto& [name, tensor] : named) {
    if (name.ends_with(ending)) return tensor;
  }
  return {};
}

struct Pair {
  explicit Pair(const Options& codec, uint64_t seed = 5)
      : sender(end_options(codec, "sender", seed)),
        receiver(end_options(codec, "receiver", seed)) {}

  // What crosses in a micro-batch, and the gradient that comes out at the sender's input.
  struct Crossing {
    Bytes activation;
    Bytes gradient;
    at::Tensor restored_ND;
    at::Tensor grad_ND;
  };
  Crossing cross(const at::Tensor& x_ND, const at::Tensor& ids_N, const MessageKey& key = {}) {
    Crossing out;
    const at::Tensor x = x_ND.detach().clone().requires_grad_();
    const at::Tensor z = sender.project(x, ids_N);
    out.activation = sender.pack(z.detach(), key);
    const at::Tensor z_NR =
        receiver.unpack(out.activation, x.size(0), key).value().requires_grad_();
    const at::Tensor restored = receiver.restore(z_NR, ids_N);
    out.restored_ND = restored.detach().clone();
    torch::tanh(restored).square().sum().backward();
    out.gradient = receiver.pack_gradient(z_NR.grad(), key);
    z.backward(sender.unpack_gradient(out.gradient, x.size(0), key).value());
    out.grad_ND = x.grad();
    return out;
  }

  // The end of a step that counts, plain gradient descent standing in for the optimiser.
  void commit(uint64_t step = 0) {
    MAPL_CHECK(sender.read_sync(receiver.sync(step), step).is_ok(), "a good gradient");
    {
      at::NoGradGuard no_grad;
      for (auto& p : sender.parameters()) move(p.value);
      for (auto& p : receiver.parameters()) move(p.value);
    }
    MAPL_CHECK(receiver.read_sync(sender.sync(step), step).is_ok(), "a good basis");
    sender.commit();
    receiver.commit();
  }

  // The end of a step that does not.
  void abort() {
    sender.abort();
    receiver.abort();
    for (auto& p : sender.parameters()) p.value.mutable_grad().reset();
    for (auto& p : receiver.parameters()) p.value.mutable_grad().reset();
  }

  static void move(at::Tensor& value) {
    if (value.grad().defined()) value.sub_(0.01 * value.grad());
    value.mutable_grad().reset();
  }

  SenderEnd sender;
  ReceiverEnd receiver;
};

inline at::Tensor some_x() {
  torch::manual_seed(7);
  return torch::randn({kRows, kHidden});
}

inline at::Tensor some_ids() {
  torch::manual_seed(8);
  return torch::randint(0, kVocab, {kRows}, torch::kLong);
}

}  // namespace mapl::codec
