// Tensor -> bytes, outside autograd: one leg of a boundary. docs/codecs/packings.md has the byte
// layouts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::codec {

// On the wire: never reuse a number.
enum class PackingId : uint8_t { kF32 = 1, kBf16 = 2, kInt8 = 3 };

enum class Leg : uint8_t { kActivation = 0, kGradient = 1 };

// Names one message of a run: keys the random numbers of stochastic rounding.
struct MessageKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t micro_batch = 0;
  uint32_t boundary = 0;
};

class Packing {
 public:
  virtual ~Packing() = default;

  virtual PackingId id() const = 0;

  // Exact size of pack()'s result for rows x columns.
  virtual int64_t packed_bytes(int64_t rows, int64_t columns) const = 0;

  // Deterministic: a function of x and key.
  //   x_NR    [rows, columns], float32, any device
  //   ERRORS  RunError (kCorrupt) when a value is NaN, infinite or beyond the packing's range: a
  //   run that
  //           diverged stops here, by name, and does not infect its neighbour.
  virtual Bytes pack(const at::Tensor& x_NR, const MessageKey& key) = 0;

  // Inverse. kCorrupt when the length is not packed_bytes(rows, columns) or a value is not possible
  // (NaN and infinity never are).
  //   returns  [rows, columns], float32, on the CPU
  virtual Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns) = 0;
};

struct PackingOptions {
  Leg leg = Leg::kActivation;  // int8 rounds to nearest on activations, stochastically on gradients
  int64_t group_size = 64;     // int8: columns that share a scale
};

// "f32", "bf16", "int8".
//   ERRORS  UserError for an unknown name (lists the known ones) or a group size below 1.
std::unique_ptr<Packing> make_packing(const std::string& name, const PackingOptions& options);
std::vector<std::string> packing_names();

// The decoder of an id that came over the wire; null when there is none.
std::unique_ptr<Packing> make_packing(PackingId id, const PackingOptions& options);

}  // namespace mapl::codec
