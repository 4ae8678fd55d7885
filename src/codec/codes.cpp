#include "codec/codes.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <bit>

#include "base/check.h"

namespace mapl::codec {
namespace {

int bits_per_code(int64_t num_codes) {
  MAPL_CHECK(num_codes >= 1 && num_codes <= int64_t{1} << 31, "{} codes", num_codes);
  return std::bit_width(static_cast<uint64_t>(num_codes - 1));
}

}  // namespace

int64_t code_bytes(int64_t count, int64_t num_codes) {
  return (count * bits_per_code(num_codes) + 7) / 8;
}

Bytes pack_codes(const at::Tensor& codes, int64_t num_codes) {
  MAPL_CHECK(codes.scalar_type() == at::kLong && codes.is_cpu(), "codes are int64 on the host");
  const at::Tensor flat = codes.contiguous();
  const auto* values = flat.data_ptr<int64_t>();
  const int64_t count = flat.numel();
  const int width = bits_per_code(num_codes);
  Bytes bytes(code_bytes(count, num_codes));
  std::byte* out = bytes.data();
  uint64_t waiting = 0;  // bits not written yet, the oldest lowest
  int num_waiting = 0;   // < 8 between codes: 31 more always fit
  for (int64_t i = 0; i < count; ++i) {
    const int64_t code = values[i];
    MAPL_CHECK(code >= 0 && code < num_codes, "code {} of {}", code, num_codes);
    waiting |= static_cast<uint64_t>(code) << num_waiting;
    for (num_waiting += width; num_waiting >= 8; num_waiting -= 8) {
      *out++ = static_cast<std::byte>(waiting);
      waiting >>= 8;
    }
  }
  if (num_waiting > 0) *out = static_cast<std::byte>(waiting);
  return bytes;
}

Result<at::Tensor> unpack_codes(ByteSpan bytes, int64_t count, int64_t num_codes,
                                const char* what) {
  const int64_t expected = code_bytes(count, num_codes);
  if (static_cast<int64_t>(bytes.size()) != expected) {
    return Status(Code::kCorrupt, fmt::format("{} times a {} takes {} bytes, {} arrived", count,
                                              what, expected, bytes.size()));
  }
  const int width = bits_per_code(num_codes);
  const uint64_t mask = (uint64_t{1} << width) - 1;
  at::Tensor codes = at::empty({count}, at::TensorOptions(at::kLong));
  auto* values = codes.data_ptr<int64_t>();
  const std::byte* in = bytes.data();
  uint64_t waiting = 0;
  int num_waiting = 0;
  for (int64_t i = 0; i < count; ++i) {
    for (; num_waiting < width; num_waiting += 8) {
      waiting |= std::to_integer<uint64_t>(*in++) << num_waiting;
    }
    values[i] = static_cast<int64_t>(waiting & mask);
    waiting >>= width;
    num_waiting -= width;
    if (values[i] >= num_codes) {
      return Status(Code::kCorrupt,
                    fmt::format("{} {}, and there are {}", what, values[i], num_codes));
    }
  }
  if (waiting != 0) {
    return Status(Code::kCorrupt, fmt::format("bits after the last {} are not zero", what));
  }
  return codes;
}

}  // namespace mapl::codec
