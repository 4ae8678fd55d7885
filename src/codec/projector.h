// Tensor -> narrower tensor, inside autograd: the maths of a boundary, without packing.
//
// One algebra, z = (x - a) A and x^ = z A^T + a, in three kinds that differ in how A [D, R] is
// trained:
//
//   frozen    not at all        free    as any matrix, by Muon        stiefel  A^T A = I kept, by
//   SPEL
//
// All three start from the same A, uniform on the Stiefel manifold, a function of (seed, boundary).
// identity has no A: z = x - a at width D, and without an anchor x itself, the same tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
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
    int64_t boundary = 0;     // global index: enters the seed
    int64_t hidden_size = 0;  // D
    int64_t rank = 0;         // R; ignored by identity
    uint64_t seed = 0;
    std::string device = "cpu";
  };
  // ERRORS  UserError for an unknown kind; names the known ones.
  explicit Projector(const Options& options);

  int64_t width() const { return width_; }

  // anchor may be null.
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N, Anchor* anchor) const;
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N, Anchor* anchor) const;

  // The leaf A [D, R] float32, wanting a gradient if it is trained; undefined for identity.
  const at::Tensor& basis() const { return basis_DR_; }
  // What trains A; none when nothing does.
  std::optional<math::Rule> rule() const { return rule_; }

 private:
  int64_t width_;
  std::optional<math::Rule> rule_;
  at::Tensor basis_DR_;
};

std::vector<std::string> projector_names();

}  // namespace mapl::codec
