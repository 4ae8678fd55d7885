// int8: each row in groups of columns; a group is a scale and a signed byte for each value,
// x ~ scale * code. All scales (bf16) come first, then all codes, both row by row.
//
// WHY bf16 and not fp16 for the scale: gradients of a mean over a global batch are of the order
// 1e-8, where fp16 has no numbers left. Rounding the scale up costs at most 1/128 of the
// resolution.
#include <torch/torch.h>

#include <algorithm>
#include <bit>

#include "base/rng.h"
#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

constexpr float kMaxCode = 127.0F;
// A group is sent as zeros when its scale would be smaller than the smallest normal float32, whose
// inverse is still finite.
constexpr uint32_t kSmallestNormal = 0x00800000;
constexpr int64_t kNoisePerBlock = 8;  // a Philox block has 128 bits: eight values of 16

// Bits of the smallest bf16 that is at least magnitude / 127, as the upper half of a float32; 0 for
// a group of zeros.
uint32_t scale_bits(uint32_t magnitude) {
  const auto exact = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) / kMaxCode);
  const uint32_t up = (exact + 0xFFFF) & 0xFFFF0000;
  return up < kSmallestNormal ? 0 : up;
}

bool is_possible_scale(uint32_t bits) {
  return bits <= kMagnitude &&
         std::bit_cast<uint32_t>(kMaxCode * std::bit_cast<float>(bits)) < kInfinity;
}

// Ties to even. WHY the sum: 1.5 * 2^23 has no bits below one, so adding it rounds, and vectorises.
int8_t nearest_code(float value) {
  const float shifted = value + 0x1.8p23F;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  return static_cast<int8_t>(bits - 0x4B400000);
}

void round_to_nearest(const float* x, int64_t count, float inverse, int8_t* codes) {
  for (int64_t i = 0; i < count; ++i) codes[i] = nearest_code(x[i] * inverse);
}

// floor(x / scale + u), whose mean over u is x / scale, as nearest(x / scale + (u - 1/2)).
void round_with_noise(const float* x, const float* noise, int64_t count, float inverse,
                      int8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    // x * (1 / scale) may pass 127 by its rounding.
    const float code = std::min(std::max(x[i] * inverse, -kMaxCode), kMaxCode);
    codes[i] = nearest_code(code + noise[i]);
  }
}

// u - 1/2 for each column of a row, u = (k + 1/2) / 65536, k uniform in 0..65535: 17 bits after the
// point, so that its sum with a whole code is exact and rounds back to that code. Word w of the
// row's Philox blocks serves column w with its lower half and column w + words with its upper half.
class Noise {
 public:
  Noise(const MessageKey& key, int64_t columns)
      : blocks_((columns + kNoisePerBlock - 1) / kNoisePerBlock),
        words_(blocks_ * 4),
        values_(blocks_ * kNoisePerBlock) {
    const auto words = philox(key.seed, key.step, 0);
    key_ = uint64_t{words[1]} << 32 | words[0];
    counter_high_ = uint64_t{key.boundary} << 32 | key.micro_batch;
  }

  const float* row(int64_t row) {
    for (int64_t block = 0; block < blocks_; ++block) {
      const auto words = philox(key_, counter_high_, static_cast<uint64_t>(row * blocks_ + block));
      std::memcpy(words_.data() + 4 * block, words.data(), sizeof(words));
    }
    float* lower = values_.data();
    float* upper = lower + words_.size();
    for (size_t w = 0; w < words_.size(); ++w) {
      lower[w] = centred(words_[w] & 0xFFFF);
      upper[w] = centred(words_[w] >> 16);
    }
    return values_.data();
  }

 private:
  // WHY the cast to a signed number: that conversion vectorises.
  static float centred(uint32_t k) {
    return (static_cast<float>(static_cast<int32_t>(k)) - 32767.5F) * 0x1p-16F;
  }

  int64_t blocks_;
  std::vector<uint32_t> words_;
  std::vector<float> values_;
  uint64_t key_;
  uint64_t counter_high_;
};

class PackingInt8 final : public Packing {
 public:
  explicit PackingInt8(const PackingOptions& options) : options_(options) {}

  PackingId id() const override { return PackingId::kInt8; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override {
    return rows * (2 * groups(columns) + columns);
  }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    const at::Tensor x = host_rows(x_NR);
    const int64_t rows = x.size(0);
    const int64_t columns = x.size(1);
    const int64_t group = group_width(columns);
    const bool stochastic = options_.leg == Leg::kGradient;
    Noise noise(key, stochastic ? columns : 0);
    Bytes bytes(packed_bytes(rows, columns));
    std::byte* scales = bytes.data();
    auto* codes = reinterpret_cast<int8_t*>(scales + 2 * rows * groups(columns));
    const auto* values = x.data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, values += columns, codes += columns) {
      const float* u = stochastic ? noise.row(row) : nullptr;
      for (int64_t first = 0; first < columns; first += group, scales += 2) {
        const int64_t count = std::min(group, columns - first);
        const uint32_t bits = scale_bits(max_magnitude(values + first, count));
        if (!is_possible_scale(bits))
          refuse_values(key, "a value to be sent is not finite or above 3e38");
        const auto half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(scales, &half, sizeof(half));
        const float inverse = bits == 0 ? 0.0F : 1.0F / std::bit_cast<float>(bits);
        if (stochastic) {
          round_with_noise(values + first, u + first, count, inverse, codes + first);
        } else {
          round_to_nearest(values + first, count, inverse, codes + first);
        }
      }
    }
    return bytes;
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns) override {
    if (Status status = check_length(bytes, packed_bytes(rows, columns)); !status.is_ok())
      return status;
    at::Tensor x = new_rows(rows, columns);
    auto* values = x.data_ptr<float>();
    const std::byte* scales = bytes.data();
    const auto* codes = reinterpret_cast<const int8_t*>(scales + 2 * rows * groups(columns));
    const int64_t group = group_width(columns);
    int lowest = 0;
    for (int64_t row = 0; row < rows; ++row, values += columns, codes += columns) {
      for (int64_t first = 0; first < columns; first += group, scales += 2) {
        uint16_t half;
        std::memcpy(&half, scales, sizeof(half));
        const uint32_t bits = uint32_t{half} << 16;
        if (!is_possible_scale(bits))
          return Status(Code::kCorrupt, "a scale of int8 is not possible");
        const auto scale = std::bit_cast<float>(bits);
        const int64_t end = std::min(first + group, columns);
        for (int64_t i = first; i < end; ++i) {
          lowest = std::min<int>(lowest, codes[i]);
          values[i] = scale * static_cast<float>(codes[i]);
        }
      }
    }
    if (lowest < -127) return Status(Code::kCorrupt, "an int8 code is -128");
    return x;
  }

 private:
  int64_t group_width(int64_t columns) const {
    return std::max<int64_t>(std::min(options_.group_size, columns), 1);
  }
  int64_t groups(int64_t columns) const {
    const int64_t group = group_width(columns);
    return (columns + group - 1) / group;
  }

  PackingOptions options_;
};

}  // namespace

std::unique_ptr<Packing> make_packing_int8(const PackingOptions& options) {
  return std::make_unique<PackingInt8>(options);
}

}  // namespace mapl::codec
