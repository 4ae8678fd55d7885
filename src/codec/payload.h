// The payload of an activation message: token ids, bit-packed, then the packed z.
//
// The ids are those of the micro-batch's windows [B, T + 1]: one more than tokens, so that only
// stage 0 needs the data set and the last stage has its targets.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::codec {

// ceil(log2 V) bits for each id, the whole rounded up to bytes.
int64_t token_id_bytes(int64_t count, int64_t vocab_size);

// ids int64, any shape, on the CPU; little-endian bit order, first id in the lowest bits.
Bytes pack_token_ids(const at::Tensor& ids, int64_t vocab_size);

// returns [count] int64. kCorrupt on a wrong length or an id >= vocab_size.
Result<at::Tensor> unpack_token_ids(ByteSpan bytes, int64_t count, int64_t vocab_size);

}  // namespace mapl::codec
