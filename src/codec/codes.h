// Numbers below a known bound, as few bits each as that takes: token ids, codebook codes, column
// indices.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::codec {

// ceil(log2 num_codes) bits for each code, the whole rounded up to bytes.
int64_t code_bytes(int64_t count, int64_t num_codes);

// codes int64, any shape, on the CPU; little-endian bit order, first code in the lowest bits.
Bytes pack_codes(const at::Tensor& codes, int64_t num_codes);

// returns [count] int64. kCorrupt on a wrong length or a code >= num_codes.
//   what  how errors call a code: "token id"
Result<at::Tensor> unpack_codes(ByteSpan bytes, int64_t count, int64_t num_codes, const char* what);

}  // namespace mapl::codec
