// What every packing checks of the values that enter and of the bytes that arrive.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"
#include "codec/packing.h"

namespace mapl::codec {

// Bits of a float32 without its sign order as the magnitudes do, NaN above infinity above all
// numbers. WHY: an integer maximum vectorises; a float maximum may not, and loses NaN.
constexpr uint32_t kMagnitude = 0x7FFFFFFF;
constexpr uint32_t kInfinity = 0x7F800000;

// The largest magnitude among `count` values, as bits; >= kInfinity when one of them is not finite.
inline uint32_t max_magnitude(const float* values, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    largest = std::max(largest, bits & static_cast<int32_t>(kMagnitude));
  }
  return static_cast<uint32_t>(largest);
}

// x as contiguous rows in the memory of the host.
// REQUIRES: x is a float32 matrix.
at::Tensor host_rows(const at::Tensor& x_NR);

// [rows, columns] float32 on the host, not initialised.
at::Tensor new_rows(int64_t rows, int64_t columns);

// Throws RunError (kCorrupt): "boundary 2, step 7, micro-batch 1: <what>; <what to do>".
[[noreturn]] void refuse_values(const MessageKey& key, const char* what);

Status check_length(ByteSpan bytes, int64_t expected_bytes);

// Called by make_packing, which has checked the options.
std::unique_ptr<Packing> make_packing_f32(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_bf16(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_int8(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_int6(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_int5(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_int4(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_topk(const PackingOptions& options);
std::unique_ptr<Packing> make_packing_rvq(const PackingOptions& options);

}  // namespace mapl::codec
