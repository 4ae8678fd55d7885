// Tensor -> narrower tensor, inside autograd: the maths of a boundary, without packing.
//
// Linear projectors share one algebra, z = (x - a) A and x^ = z A^T + a, with A [D, R] uniform on
// the Stiefel manifold at the start, a function of the seed. They differ in how A is trained:
//
//   frozen    not at all; an A for each boundary
//   free      by Muon without its aspect factor, at the rate of stiefel (docs/decisions/0011)
//   stiefel   A^T A = I kept, by SPEL
//   subspace  not at all, and one A for all boundaries: what crosses is lossless because every
//             weight that writes into the residual stream is held in its span (SSN, arXiv
//             2506.01260)
//
// bottleneck has no A: a small network at each end beside the first R columns, trained with the
// model (ResBM, arXiv 2604.11947). identity has nothing: z = x - a at width D, and without an
// anchor x itself, the same tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codec/anchor.h"
#include "math/parameter.h"

namespace mapl::codec {

class Projector {
 public:
  struct Options {
    std::string kind;         // one of projector_names()
    bool sends = true;        // this is the sender's end
    int64_t boundary = 0;     // global index: enters the seed
    int64_t hidden_size = 0;  // D
    int64_t rank = 0;         // R; ignored by identity
    uint64_t seed = 0;
    std::string device = "cpu";
  };

  virtual ~Projector() = default;

  virtual int64_t width() const = 0;

  // anchor may be null.
  virtual at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N,
                             Anchor* anchor) const = 0;
  virtual at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N,
                             Anchor* anchor) const = 0;

  // The leaf A [D, R] float32, wanting a gradient if it is trained; undefined when there is none.
  virtual at::Tensor basis() const { return {}; }
  // What trains A; none when nothing does.
  virtual std::optional<math::Rule> rule() const { return std::nullopt; }
  // Trained tensors of this end alone: names without a prefix.
  virtual std::vector<math::Parameter> own_parameters() const { return {}; }
};

// ERRORS  UserError for an unknown kind; names the known ones.
std::unique_ptr<Projector> make_projector(const Projector::Options& options);
std::vector<std::string> projector_names();

// The A of subspace: also what weights are held in the span of.
//   returns  [D, R], float32, on the CPU
at::Tensor subspace_basis(int64_t hidden_size, int64_t rank, uint64_t seed);

}  // namespace mapl::codec
