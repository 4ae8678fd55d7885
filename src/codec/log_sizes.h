// Sizes of rows, in one byte each: how many eighths of an octave they lie below the largest, which
// goes first as float32. Off by at most 4.5 %, where a code of the row's direction is off by more.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::codec {

int64_t log_size_bytes(int64_t num_sizes);

// What is 2^31.8 below the largest or less becomes 0.
//   size_N  float32, on the CPU, each finite and at least 0
Bytes pack_log_sizes(const at::Tensor& size_N);

// kCorrupt on a wrong length or a largest size that is negative or not finite.
//   returns  [N], float32; the same bits for the same bytes on every machine
Result<at::Tensor> unpack_log_sizes(ByteSpan bytes, int64_t num_sizes);

}  // namespace mapl::codec
