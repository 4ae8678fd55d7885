// Tensor -> bytes, outside autograd: one leg of a boundary. docs/codecs/packings.md has the byte
// layouts.
//
// A leg has two packings of the same options, one at each of its ends: one packs, the other
// unpacks. Most have no memory. Those that learn (rvq) hold state that both ends share and that
// changes at the end of a step, at both or, when the step is given up, at none:
//
//   pack, unpack ...   all micro-batches of the step, with what is shared as it was
//   announce           once, from the packing end to the unpacking end: read_announced
//   commit or abort    at both
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "math/parameter.h"

namespace mapl::codec {

// On the wire: never reuse a number.
enum class PackingId : uint8_t {
  kF32 = 1,
  kBf16 = 2,
  kInt8 = 3,
  kInt4 = 4,
  kTopk = 5,
  kRvq = 6,
  kInt5 = 7,
  kInt6 = 8
};

enum class Leg : uint8_t { kActivation = 0, kGradient = 1 };

// Names one message of a run: keys the random numbers of stochastic rounding.
struct MessageKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t micro_batch = 0;
  uint32_t boundary = 0;
  bool trains = true;  // false in a validation: nothing is learned from it, nor added to it
};

class Packing {
 public:
  virtual ~Packing() = default;

  // Of the next message: a packing that learns begins as bf16.
  virtual PackingId id() const = 0;

  // Exact size of pack()'s result for rows x columns.
  virtual int64_t packed_bytes(int64_t rows, int64_t columns) const = 0;
  // The most that it can be in the life of this packing.
  virtual int64_t most_packed_bytes(int64_t rows, int64_t columns) const {
    return packed_bytes(rows, columns);
  }

  // A function of x, key and what is shared.
  //   x_NR    [rows, columns], float32, any device
  //   ERRORS  RunError (kCorrupt) when a value is NaN, infinite or beyond the packing's range: a
  //   run that
  //           diverged stops here, by name, and does not infect its neighbour.
  virtual Bytes pack(const at::Tensor& x_NR, const MessageKey& key) = 0;

  // Inverse. kCorrupt when the length is not packed_bytes(rows, columns) or a value is not possible
  // (NaN and infinity never are).
  //   returns  [rows, columns], float32, on the CPU
  virtual Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, int64_t columns,
                                    const MessageKey& key) = 0;

  // Size of announce() in this step: known at both ends.
  virtual int64_t announced_bytes(uint64_t /*step*/) const { return 0; }
  virtual int64_t most_announced_bytes() const { return 0; }
  virtual Bytes announce(uint64_t /*step*/) { return {}; }
  virtual Status read_announced(ByteSpan bytes, uint64_t step);
  virtual void commit() {}
  virtual void abort() {}

  // What is saved: names without a prefix; written in place by whoever loads.
  virtual math::NamedTensors state() { return {}; }
  // Of a packing that learns codebooks, at the end that packs; NaN: nothing to say. exp(entropy) of
  // how often entries are chosen over their number, mean over codebooks. 1: all alike.
  virtual double codebook_usage() const { return std::numeric_limits<double>::quiet_NaN(); }
  // Share of the rows' energy that codes have lost, in the first message of the last step.
  virtual double codebook_error() const { return std::numeric_limits<double>::quiet_NaN(); }
  // What both ends hold alike, in a fixed order.
  virtual std::vector<at::Tensor> shared() const { return {}; }
};

struct PackingOptions {
  Leg leg = Leg::kActivation;  // integers: to nearest on activations, stochastic on gradients
  bool packs = true;           // this end packs; the other unpacks
  int64_t columns = 0;         // of the matrices, for packings with state
  int64_t rows = 0;            // the same; of a micro-batch
  uint64_t seed = 0;           // of what is learned

  int64_t group_size = 64;  // integers: columns that share a scale
  bool hadamard = false;    // integers: turn each group by a Hadamard matrix first

  int64_t topk = 8;            // entries of a row that are sent
  bool topk_feedback = false;  // what was not sent is added to the next micro-batch
  // topk on the gradient leg: the packing of the other leg at the same end; its mask is used again.
  class Packing* forward = nullptr;

  int64_t rvq_group_size = 8;  // columns that share a code; divides `columns`
  int64_t rvq_rounds = 3;
  bool rvq_normalise = true;       // send the size of each row apart from its direction
  int64_t rvq_slice_entries = 1;   // that each message brings up to date
  int64_t rvq_entries = 256;       // of each codebook
  int64_t rvq_warmup_steps = 100;  // in bf16, before codebooks are fitted
  double rvq_decay = 0.9;          // of the moving averages
};

// "f32", "bf16", "int8", "int6", "int5", "int4", "topk", "rvq".
//   ERRORS  UserError for an unknown name (lists the known ones) or options that cannot be; names
//           the key
std::unique_ptr<Packing> make_packing(const std::string& name, const PackingOptions& options);
std::vector<std::string> packing_names();

// The decoder of an id that came over the wire; null when there is none.
std::unique_ptr<Packing> make_packing(PackingId id, const PackingOptions& options);

}  // namespace mapl::codec
