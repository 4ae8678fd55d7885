// A function of token ids that both ends of a boundary know and that never crosses the wire: the
// sender subtracts its own from the activations, the receiver adds its own
// (docs/codecs/stiefel.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "math/parameter.h"

namespace mapl::codec {

class Anchor {
 public:
  virtual ~Anchor() = default;

  // ids_N int64 -> [N, D] float32, a new tensor in the graph of the table.
  //
  // The backward adds straight into the table's .grad(), row by row in the order of the ids.
  virtual at::Tensor lookup(const at::Tensor& ids_N) = 0;

  // (x - lookup(ids)) A -> [N, R], in the graph of x, A and the table.
  virtual at::Tensor project_residual(const at::Tensor& x_ND, const at::Tensor& ids_N,
                                      const at::Tensor& basis_DR);

  virtual std::vector<math::Parameter> parameters() = 0;  // empty when nothing is trained
  virtual math::NamedTensors state() = 0;                 // the same and what is frozen
};

struct AnchorOptions {
  std::string name;         // global prefix of its tensors, e.g. "boundary.2.sender.anchor"
  std::string kind;         // none, static, factorized, full
  int64_t rank = 32;        // of factorized
  uint64_t seed = 0;        // of what is frozen: the same at both ends of a boundary
  at::Tensor embedding_VD;  // what trained tables start from; its device and shape are the anchor's
};

// Null for "none". Tensors are <name>.table (trained, but for static) and <name>.projection
// (factorized).
//
//   static      table [V, D] of Gaussian numbers as large as the embedding's (root mean square);
//   frozen factorized  table E [V, r], E = embedding P^T at the start; projection P [r, D],
//   orthonormal rows, frozen full        table [V, D], the embedding at the start
//
//   ERRORS  UserError for an unknown kind; names the known ones.
std::shared_ptr<Anchor> make_anchor(const AnchorOptions& options);
std::vector<std::string> anchor_names();

}  // namespace mapl::codec
