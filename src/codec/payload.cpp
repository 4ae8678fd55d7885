#include "codec/payload.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <bit>

#include "base/check.h"

namespace mapl::codec {
namespace {

int bits_per_id(int64_t vocab_size) {
  MAPL_CHECK(vocab_size >= 1 && vocab_size <= int64_t{1} << 31, "a vocabulary of {}", vocab_size);
  return std::bit_width(static_cast<uint64_t>(vocab_size - 1));
}

}  // namespace

int64_t token_id_bytes(int64_t count, int64_t vocab_size) {
  return (count * bits_per_id(vocab_size) + 7) / 8;
}

Bytes pack_token_ids(const at::Tensor& ids, int64_t vocab_size) {
  MAPL_CHECK(ids.scalar_type() == at::kLong && ids.is_cpu(), "ids are int64 on the host");
  const at::Tensor flat = ids.contiguous();
  const auto* values = flat.data_ptr<int64_t>();
  const int64_t count = flat.numel();
  const int width = bits_per_id(vocab_size);
  Bytes bytes(token_id_bytes(count, vocab_size));
  std::byte* out = bytes.data();
  uint64_t waiting = 0;  // bits not written yet, the oldest lowest
  int num_waiting = 0;   // < 8 between ids: 31 more always fit
  for (int64_t i = 0; i < count; ++i) {
    const int64_t id = values[i];
    MAPL_CHECK(id >= 0 && id < vocab_size, "token id {} in a vocabulary of {}", id, vocab_size);
    waiting |= static_cast<uint64_t>(id) << num_waiting;
    for (num_waiting += width; num_waiting >= 8; num_waiting -= 8) {
      *out++ = static_cast<std::byte>(waiting);
      waiting >>= 8;
    }
  }
  if (num_waiting > 0) *out = static_cast<std::byte>(waiting);
  return bytes;
}

Result<at::Tensor> unpack_token_ids(ByteSpan bytes, int64_t count, int64_t vocab_size) {
  const int64_t expected = token_id_bytes(count, vocab_size);
  if (static_cast<int64_t>(bytes.size()) != expected) {
    return Status(Code::kCorrupt, fmt::format("{} token ids take {} bytes, {} arrived", count,
                                              expected, bytes.size()));
  }
  const int width = bits_per_id(vocab_size);
  const uint64_t mask = (uint64_t{1} << width) - 1;
  at::Tensor ids = at::empty({count}, at::TensorOptions(at::kLong));
  auto* values = ids.data_ptr<int64_t>();
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
    if (values[i] >= vocab_size) {
      return Status(Code::kCorrupt,
                    fmt::format("token id {} in a vocabulary of {}", values[i], vocab_size));
    }
  }
  if (waiting != 0) return Status(Code::kCorrupt, "bits after the last token id are not zero");
  return ids;
}

}  // namespace mapl::codec
