// bf16: the upper half of each float32, rounded to nearest, ties to even; row by row.
#include <torch/torch.h>

#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

constexpr uint32_t kBf16Infinity = 0x7F80;

class PackingBf16 final : public Packing {
 public:
  PackingId id() const override { return PackingId::kBf16; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override { return 2 * rows * columns; }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    const at::Tensor x = host_rows(x_NR);
    const auto* values = x.data_ptr<float>();
    // The largest finite float32 values round to infinity: the rounded magnitude tells for all.
    if (round_to_bf16(max_magnitude(values, x.numel())) >= kBf16Infinity) {
      refuse_values(key, "a value to be sent is not finite");
    }
    Bytes bytes(packed_bytes(x.size(0), x.size(1)));
    std::byte* out = bytes.data();
    for (int64_t i = 0, count = x.numel(); i < count; ++i) {
      uint32_t bits;
      std::memcpy(&bits, values + i, sizeof(bits));
      const auto half = static_cast<uint16_t>(round_to_bf16(bits));
      std::memcpy(out + 2 * i, &half, sizeof(half));
    }
    return bytes;
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                            const MessageKey&) override {
    if (Status status = check_length(bytes, packed_bytes(rows, columns)); !status.is_ok())
      return status;
    at::Tensor x = new_rows(rows, columns);
    auto* values = x.data_ptr<float>();
    const std::byte* in = bytes.data();
    for (int64_t i = 0, count = x.numel(); i < count; ++i) {
      uint16_t half;
      std::memcpy(&half, in + 2 * i, sizeof(half));
      const uint32_t bits = uint32_t{half} << 16;
      std::memcpy(values + i, &bits, sizeof(bits));
    }
    if (max_magnitude(values, x.numel()) >= kInfinity) {
      return Status(Code::kCorrupt, "a bf16 value is not finite");
    }
    return x;
  }

 private:
  // REQUIRES: not NaN (its payload bits could carry into the sign).
  static uint32_t round_to_bf16(uint32_t bits) {
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  }
};

}  // namespace

std::unique_ptr<Packing> make_packing_bf16(const PackingOptions&) {
  return std::make_unique<PackingBf16>();
}

}  // namespace mapl::codec
