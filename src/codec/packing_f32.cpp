// f32: the values as they are, little-endian, row by row. Loses nothing.
#include <torch/torch.h>

#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

class PackingF32 final : public Packing {
 public:
  PackingId id() const override { return PackingId::kF32; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override { return 4 * rows * columns; }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    const at::Tensor x = host_rows(x_NR);
    const auto* values = x.data_ptr<float>();
    if (max_magnitude(values, x.numel()) >= kInfinity) {
      refuse_values(key, "a value to be sent is not finite");
    }
    const auto* first = reinterpret_cast<const std::byte*>(values);
    return Bytes(first, first + x.nbytes());
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                            const MessageKey&) override {
    if (Status status = check_length(bytes, packed_bytes(rows, columns)); !status.is_ok())
      return status;
    at::Tensor x = new_rows(rows, columns);
    if (!bytes.empty()) std::memcpy(x.data_ptr<float>(), bytes.data(), bytes.size());
    if (max_magnitude(x.data_ptr<float>(), x.numel()) >= kInfinity) {
      return Status(Code::kCorrupt, "an f32 value is not finite");
    }
    return x;
  }
};

}  // namespace

std::unique_ptr<Packing> make_packing_f32(const PackingOptions&) {
  return std::make_unique<PackingF32>();
}

}  // namespace mapl::codec
