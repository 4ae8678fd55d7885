// int8, int6, int5 and int4: each row in groups of columns; a group is a scale and a signed integer
// for each value, x ~ scale * code. All scales (bf16) come first, then all codes, both row by row.
//
// WHY bf16 and not fp16 for the scale: gradients of a mean over a global batch are of the order
// 1e-8, where fp16 has no numbers left. Rounding the scale up costs at most 1/128 of the
// resolution.
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "codec/packing_values.h"

namespace mapl::codec {
namespace {

// A group is sent as zeros when its scale would be smaller than the smallest normal float32, whose
// inverse is still finite.
constexpr uint32_t kSmallestNormal = 0x00800000;
constexpr int64_t kNoisePerBlock = 8;  // a Philox block has 128 bits: eight values of 16

// Bits of the smallest bf16 that is at least magnitude / max_code, as the upper half of a float32;
// 0 for a group of zeros.
uint32_t scale_bits(uint32_t magnitude, float max_code) {
  const auto exact = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) / max_code);
  const uint32_t up = (exact + 0xFFFF) & 0xFFFF0000;
  return up < kSmallestNormal ? 0 : up;
}

bool is_possible_scale(uint32_t bits, float max_code) {
  return bits <= kMagnitude &&
         std::bit_cast<uint32_t>(max_code * std::bit_cast<float>(bits)) < kInfinity;
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
                      float max_code, int8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    // x * (1 / scale) may pass the largest code by its rounding.
    const float code = std::min(std::max(x[i] * inverse, -max_code), max_code);
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

// x H / sqrt(G) for each group of G columns, H the Hadamard matrix (Sylvester's order): a rotation
// that is its own inverse. An outlier is spread over its group, whose scale it would spoil
// (TAH-Quant, arXiv 2506.01352).
void turn_groups(at::Tensor& x_NR, int64_t group) {
  auto* values = x_NR.data_ptr<float>();
  const float size = 1.0F / std::sqrt(static_cast<float>(group));
  for (float* first = values; first < values + x_NR.numel(); first += group) {
    for (int64_t half = 1; half < group; half *= 2) {
      for (int64_t start = 0; start < group; start += 2 * half) {
        for (int64_t i = start; i < start + half; ++i) {
          const float sum = first[i] + first[i + half];
          first[i + half] = first[i] - first[i + half];
          first[i] = sum;
        }
      }
    }
    for (int64_t i = 0; i < group; ++i) first[i] *= size;
  }
}

// Codes of a row, the first in the lowest bits; the last byte ends with empty bits.
template <int kBits>
struct Row {
  static constexpr int64_t kRun = 8;  // codes that end with a byte, whatever their bits
  static constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1, kSign = uint64_t{1} << (kBits - 1);

  static void pack(const int8_t* codes, int64_t columns, std::byte* out) {
    for (; columns >= kRun; columns -= kRun, codes += kRun, out += kBits) {
      const uint64_t run = joined(codes, kRun);
      std::memcpy(out, &run, kBits);
    }
    const uint64_t rest = joined(codes, columns);
    std::memcpy(out, &rest, static_cast<size_t>((columns * kBits + 7) / 8));
  }

  // False when the empty bits are not empty.
  static bool unpack(const std::byte* in, int64_t columns, int8_t* codes) {
    for (; columns >= kRun; columns -= kRun, codes += kRun, in += kBits) {
      uint64_t run = 0;
      std::memcpy(&run, in, kBits);
      split(run, kRun, codes);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, in, static_cast<size_t>((columns * kBits + 7) / 8));
    split(rest, columns, codes);
    return rest >> (columns * kBits) == 0;
  }

 private:
  static uint64_t joined(const int8_t* codes, int64_t count) {
    uint64_t run = 0;
    for (int64_t i = 0; i < count; ++i) {
      run |= (static_cast<uint64_t>(codes[i]) & kMask) << (i * kBits);
    }
    return run;
  }
  static void split(uint64_t run, int64_t count, int8_t* codes) {
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = static_cast<int8_t>(((run >> (i * kBits) & kMask) ^ kSign) - kSign);
    }
  }
};

void pack_row(const int8_t* codes, int64_t columns, int bits, std::byte* out) {
  switch (bits) {
    case 4:
      return Row<4>::pack(codes, columns, out);
    case 5:
      return Row<5>::pack(codes, columns, out);
    case 6:
      return Row<6>::pack(codes, columns, out);
    default:
      std::memcpy(out, codes, static_cast<size_t>(columns));
  }
}

bool unpack_row(const std::byte* in, int64_t columns, int bits, int8_t* codes) {
  switch (bits) {
    case 4:
      return Row<4>::unpack(in, columns, codes);
    case 5:
      return Row<5>::unpack(in, columns, codes);
    case 6:
      return Row<6>::unpack(in, columns, codes);
    default:
      std::memcpy(codes, in, static_cast<size_t>(columns));
      return true;
  }
}

class PackingInteger final : public Packing {
 public:
  PackingInteger(PackingId id, const PackingOptions& options, int bits)
      : id_(id),
        options_(options),
        bits_(bits),
        max_code_(static_cast<float>((1 << (bits - 1)) - 1)) {}

  PackingId id() const override { return id_; }

  int64_t packed_bytes(int64_t rows, int64_t columns) const override {
    return rows * (2 * groups(columns) + row_bytes(columns));
  }

  Bytes pack(const at::Tensor& x_NR, const MessageKey& key) override {
    at::Tensor x = host_rows(x_NR);
    const int64_t rows = x.size(0);
    const int64_t columns = x.size(1);
    const int64_t group = group_width(columns);
    if (options_.hadamard) turn_groups(x = x.clone(), group);
    const bool stochastic = options_.leg == Leg::kGradient;
    Noise noise(key, stochastic ? columns : 0);
    Bytes bytes(packed_bytes(rows, columns));
    std::byte* scales = bytes.data();
    std::byte* out = scales + 2 * rows * groups(columns);
    std::vector<int8_t> codes(static_cast<size_t>(columns));
    const auto* values = x.data_ptr<float>();
    for (int64_t row = 0; row < rows; ++row, values += columns, out += row_bytes(columns)) {
      const float* u = stochastic ? noise.row(row) : nullptr;
      for (int64_t first = 0; first < columns; first += group, scales += 2) {
        const int64_t count = std::min(group, columns - first);
        const uint32_t bits = scale_bits(max_magnitude(values + first, count), max_code_);
        if (!is_possible_scale(bits, max_code_)) {
          refuse_values(key, "a value to be sent is not finite or above 3e38");
        }
        const auto half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(scales, &half, sizeof(half));
        const float inverse = bits == 0 ? 0.0F : 1.0F / std::bit_cast<float>(bits);
        if (stochastic) {
          round_with_noise(values + first, u + first, count, inverse, max_code_, &codes[first]);
        } else {
          round_to_nearest(values + first, count, inverse, &codes[first]);
        }
      }
      pack_row(codes.data(), columns, bits_, out);
    }
    return bytes;
  }

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                            const MessageKey&) override {
    if (Status status = check_length(bytes, packed_bytes(rows, columns)); !status.is_ok())
      return status;
    at::Tensor x = new_rows(rows, columns);
    auto* values = x.data_ptr<float>();
    const std::byte* scales = bytes.data();
    const std::byte* in = scales + 2 * rows * groups(columns);
    const int64_t group = group_width(columns);
    std::vector<int8_t> codes(static_cast<size_t>(columns));
    int lowest = 0;
    bool is_empty_behind = true;
    for (int64_t row = 0; row < rows; ++row, values += columns, in += row_bytes(columns)) {
      is_empty_behind &= unpack_row(in, columns, bits_, codes.data());
      for (int64_t first = 0; first < columns; first += group, scales += 2) {
        uint16_t half;
        std::memcpy(&half, scales, sizeof(half));
        const uint32_t bits = uint32_t{half} << 16;
        if (!is_possible_scale(bits, max_code_))
          return Status(Code::kCorrupt, "a scale of integers is not possible");
        const auto scale = std::bit_cast<float>(bits);
        const int64_t end = std::min(first + group, columns);
        for (int64_t i = first; i < end; ++i) {
          lowest = std::min<int>(lowest, codes[i]);
          values[i] = scale * static_cast<float>(codes[i]);
        }
      }
    }
    if (lowest < -static_cast<int>(max_code_) || !is_empty_behind) {
      return Status(Code::kCorrupt, "a code of integers is not possible");
    }
    if (options_.hadamard) {
      turn_groups(x, group);
      if (max_magnitude(x.data_ptr<float>(), x.numel()) >= kInfinity) {
        return Status(Code::kCorrupt, "a group of integers turns into what is not finite");
      }
    }
    return x;
  }

 private:
  int64_t row_bytes(int64_t columns) const { return (columns * bits_ + 7) / 8; }
  int64_t group_width(int64_t columns) const {
    return std::max<int64_t>(std::min(options_.group_size, columns), 1);
  }
  int64_t groups(int64_t columns) const {
    const int64_t group = group_width(columns);
    return (columns + group - 1) / group;
  }

  PackingId id_;
  PackingOptions options_;
  int bits_;
  float max_code_;
};

std::unique_ptr<Packing> make(PackingId id, const PackingOptions& options, int bits) {
  const int64_t group = options.group_size;
  if (group < 1) {
    throw UserError(fmt::format("boundary.group_size is {}; it must be at least 1", group));
  }
  if (options.hadamard && options.columns > 0) {
    const int64_t width = std::min(group, options.columns);
    if (!std::has_single_bit(static_cast<uint64_t>(width)) || options.columns % width != 0) {
      throw UserError(
          fmt::format("boundary.hadamard turns groups of {} columns of {}; group_size must be a "
                      "power of two that divides the columns that cross, or boundary.hadamard "
                      "false (method \"mapl-int4\" sets it)",
                      width, options.columns));
    }
  }
  return std::make_unique<PackingInteger>(id, options, bits);
}

}  // namespace

std::unique_ptr<Packing> make_packing_int8(const PackingOptions& options) {
  return make(PackingId::kInt8, options, 8);
}

std::unique_ptr<Packing> make_packing_int6(const PackingOptions& options) {
  return make(PackingId::kInt6, options, 6);
}

std::unique_ptr<Packing> make_packing_int5(const PackingOptions& options) {
  return make(PackingId::kInt5, options, 5);
}

std::unique_ptr<Packing> make_packing_int4(const PackingOptions& options) {
  return make(PackingId::kInt4, options, 4);
}

}  // namespace mapl::codec
