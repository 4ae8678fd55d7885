// Every packing's decoder on bytes of a peer: payloads of messages, and announcements.
#include "codec/packing.h"

#include <torch/torch.h>

#include "base/check.h"
#include "input.h"

namespace mapl::codec {
namespace {

std::vector<at::Tensor> copies_of(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : tensors) copies.push_back(tensor.clone());
  return copies;
}

// Codebooks as if a run had fitted them.
void fit(Packing& packing) {
  for (auto& [name, value] : packing.state()) {
    if (name == "fitted") value.fill_(1);
    if (name == "codebook") value.copy_(torch::linspace(-1, 1, value.numel()).view_as(value));
  }
}

// `size` bytes if there are so many; as they come for one input in two.
Bytes take(FuzzedDataProvider& input, int64_t size) {
  const bool as_they_come = input.ConsumeBool();
  Bytes bytes = take_bytes(input, input.remaining_bytes());
  if (!as_they_come) bytes.resize(static_cast<size_t>(size));
  return bytes;
}

void try_one(FuzzedDataProvider& input) {
  const auto names = packing_names();
  const std::string name = names[input.ConsumeIntegralInRange<size_t>(0, names.size() - 1)];
  const int64_t rows = input.ConsumeIntegralInRange<int64_t>(1, 6);
  const int64_t columns = 8 * input.ConsumeIntegralInRange<int64_t>(1, 9);
  const MessageKey key{.step = input.ConsumeIntegralInRange<uint64_t>(0, 3)};
  PackingOptions options{.leg = input.ConsumeBool() ? Leg::kGradient : Leg::kActivation,
                         .packs = false,
                         .columns = columns,
                         .rows = rows,
                         .group_size = input.ConsumeBool() ? 8 : columns,
                         .topk = input.ConsumeIntegralInRange<int64_t>(1, columns),
                         .topk_feedback = input.ConsumeBool(),
                         .rvq_group_size = 4,
                         .rvq_rounds = input.ConsumeIntegralInRange<int64_t>(1, 2),
                         .rvq_normalise = input.ConsumeBool(),
                         .rvq_slice_entries = input.ConsumeIntegralInRange<int64_t>(1, 3),
                         .rvq_entries = input.ConsumeIntegralInRange<int64_t>(3, 20),
                         .rvq_warmup_steps = input.ConsumeIntegralInRange<int64_t>(1, 3)};
  options.hadamard = options.group_size == 8 && input.ConsumeBool();
  std::unique_ptr<Packing> forward;
  if (name == "topk" && options.leg == Leg::kGradient && input.ConsumeBool()) {
    PackingOptions other = options;
    other.leg = Leg::kActivation;
    other.packs = true;
    forward = make_packing(name, other);
    (void)forward->pack(torch::linspace(-2, 3, rows * columns).view({rows, columns}), key);
    options.forward = forward.get();
  }
  const std::unique_ptr<Packing> packing = make_packing(name, options);
  if (input.ConsumeBool()) fit(*packing);
  const bool announces = input.ConsumeBool();
  const bool commits = input.ConsumeBool();
  const auto before = copies_of(packing->shared());

  if (announces) {
    const Status status =
        packing->read_announced(take(input, packing->announced_bytes(key.step)), key.step);
    MAPL_CHECK(status.is_ok() || status.code() == Code::kCorrupt, "{}", status.to_string());
    if (status.is_ok() && commits) packing->commit();
  } else {
    const auto x =
        packing->unpack(take(input, packing->packed_bytes(rows, columns)), rows, columns, key);
    MAPL_CHECK(x.is_ok() || x.status().code() == Code::kCorrupt, "{}", x.status().to_string());
    if (x.is_ok()) {
      MAPL_CHECK(x.value().size(0) == rows && x.value().size(1) == columns, "another shape");
      MAPL_CHECK(x.value().isfinite().all().item<bool>(), "a value is not finite");
      if (commits) packing->commit();
    }
  }
  packing->abort();
  const auto after = packing->shared();
  for (size_t i = 0; i < after.size(); ++i) {
    MAPL_CHECK(after[i].isfinite().all().item<bool>(), "shared state is not finite");
    if (!commits) MAPL_CHECK(after[i].equal(before[i]), "changed without a commit");
  }
}

}  // namespace
}  // namespace mapl::codec

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const at::NoGradGuard no_grad;
  FuzzedDataProvider input(data, size);
  mapl::codec::try_one(input);
  return 0;
}
