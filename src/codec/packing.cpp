#include "codec/packing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/torch.h>

#include "base/check.h"
#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

struct Entry {
  PackingId id;
  const char* name;
  std::unique_ptr<Packing> (*make)(const PackingOptions&);
};

// The list: one line for each packing.
constexpr Entry kPackings[] = {
    {PackingId::kF32, "f32", make_packing_f32},    {PackingId::kBf16, "bf16", make_packing_bf16},
    {PackingId::kInt8, "int8", make_packing_int8}, {PackingId::kInt6, "int6", make_packing_int6},
    {PackingId::kInt5, "int5", make_packing_int5}, {PackingId::kInt4, "int4", make_packing_int4},
    {PackingId::kTopk, "topk", make_packing_topk}, {PackingId::kRvq, "rvq", make_packing_rvq},
};

}  // namespace

std::unique_ptr<Packing> make_packing(const std::string& name, const PackingOptions& options) {
  for (const Entry& entry : kPackings) {
    if (name == entry.name) return entry.make(options);
  }
  throw UserError(
      fmt::format("unknown packing \"{}\"; known: {}", name, fmt::join(packing_names(), ", ")));
}

std::unique_ptr<Packing> make_packing(PackingId id, const PackingOptions& options) {
  for (const Entry& entry : kPackings) {
    if (id == entry.id) return entry.make(options);
  }
  return nullptr;
}

std::vector<std::string> packing_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kPackings) names.emplace_back(entry.name);
  return names;
}

Status Packing::read_announced(ByteSpan bytes, uint64_t step) {
  return check_length(bytes, announced_bytes(step));
}

at::Tensor host_rows(const at::Tensor& x_NR) {
  MAPL_CHECK(x_NR.dim() == 2 && x_NR.scalar_type() == at::kFloat,
             "a packing takes a float32 matrix, not {} dimensions", x_NR.dim());
  return x_NR.detach().to(at::kCPU).contiguous();
}

at::Tensor new_rows(int64_t rows, int64_t columns) {
  return at::empty({rows, columns}, at::TensorOptions(at::kFloat));
}

void refuse_values(const MessageKey& key, const char* what) {
  throw RunError({Code::kCorrupt,
                  fmt::format("boundary {}, step {}, micro-batch {}: {}; lower the learning rates "
                              "or set training.max_norm",
                              key.boundary, key.step, key.micro_batch, what)});
}

Status check_length(ByteSpan bytes, int64_t expected_bytes) {
  if (static_cast<int64_t>(bytes.size()) == expected_bytes) return Status::ok();
  return {Code::kCorrupt,
          fmt::format("packed values take {} bytes, {} arrived", expected_bytes, bytes.size())};
}

}  // namespace mapl::codec
