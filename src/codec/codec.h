// What happens at a boundary. The sender's end turns x [N, D] into z [N, R] and bytes; the
// receiver's end turns them back. MAPL (arXiv 2606.05484):
//
//   sender    z = (x - a_s(ids)) A            receiver  x^ = z A^T + a_r(ids)
//
// The maths of an end is ordinary autograd (project, restore); the bytes are outside it (pack,
// unpack), so the gradient passes the packing straight through. pipeline/ ties the halves together.
//
// Shared state (the basis A) is owned by the sender. Once per step, after the last backward:
//   receiver.basis_gradient() -> sender.add_basis_gradient(); the optimiser steps on
//   sender.parameters(); sender.basis() -> receiver.set_basis(). Then both ends' state_hash()
//   agree.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "codec/anchor.h"
#include "codec/packing.h"
#include "math/parameter.h"

namespace mapl::codec {

struct Options {
  std::string projector = "stiefel";  // identity, frozen, free, stiefel
  int64_t rank = 32;                  // R; ignored by identity, whose z is x - anchor at width D
  std::string anchor = "factorized";  // none, static, factorized, full
  int64_t anchor_rank = 0;            // 0: the rank of the projector
  std::string anchor_sharing =
      "end";                        // end: a table at each end; stage: a stage's two ends share one
  std::string activation = "bf16";  // packing of the leg towards the loss
  std::string gradient = "bf16";    // packing of the leg back
  int64_t group_size = 64;          // int8: columns that share a scale
};

// ERRORS  UserError that names the key: unknown projector, anchor, sharing or packing; rank outside
//         1..hidden_size.
void validate(const Options& options, int64_t hidden_size);

// Everything that one end needs to know of its boundary.
struct EndOptions {
  Options codec;
  int64_t boundary = 0;     // index of the layer that the boundary precedes: global at any cut
  int64_t hidden_size = 0;  // D
  uint64_t seed = 0;
  std::string device = "cpu";
  std::shared_ptr<Anchor> anchor;  // may be null, may be shared with the stage's other end
};

class SenderEnd {
 public:
  explicit SenderEnd(const EndOptions& options);
  ~SenderEnd();

  int64_t width() const;                         // columns of z on the wire
  int64_t activation_bytes(int64_t rows) const;  // packed z, exactly
  int64_t gradient_bytes(int64_t rows) const;    // packed gradient of z, exactly
  int64_t basis_bytes() const;                   // of basis(); 0 when nothing is synchronised
  int64_t basis_gradient_bytes() const;

  // (x - anchor) A, in autograd; x itself for identity without an anchor.
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N);
  // ERRORS  RunError when a value is not finite (packing.h); the same for pack_gradient.
  Bytes pack(const at::Tensor& z_NR, const MessageKey& key);
  Result<at::Tensor> unpack_gradient(ByteSpan bytes, int64_t rows);

  Status add_basis_gradient(ByteSpan bytes);  // kCorrupt on a wrong length or not finite values
  Bytes basis() const;
  uint64_t state_hash() const;  // of every bit that both ends must share

  // boundary.<b>.sender.basis (if trained), boundary.<b>.sender.anchor.table.
  std::vector<math::Parameter> parameters();
  math::NamedTensors state();  // the same and what is frozen but saved

  // |(x - a) A|^2 / |x - a|^2 of the first micro-batch projected since the last call: a pass over
  // all of them at full width would cost more than it tells. 1 for identity, and for x = a; NaN
  // when nothing was projected.
  double energy_kept();
  double orthogonality_error() const;  // max |A^T A - I|; 0 for identity

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class ReceiverEnd {
 public:
  explicit ReceiverEnd(const EndOptions& options);
  ~ReceiverEnd();

  int64_t width() const;
  int64_t activation_bytes(int64_t rows) const;
  int64_t gradient_bytes(int64_t rows) const;
  int64_t basis_bytes() const;
  int64_t basis_gradient_bytes() const;

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows);
  // z A^T + anchor, in autograd; z_NR is a leaf that wants its gradient (the caller sets that).
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N);
  Bytes pack_gradient(const at::Tensor& grad_NR, const MessageKey& key);

  // This end's half, float32; resets it. A step that is given up calls this and drops the bytes.
  Bytes basis_gradient();
  Status set_basis(ByteSpan bytes);
  uint64_t state_hash() const;

  std::vector<math::Parameter> parameters();  // anchor only: the basis belongs to the sender
  math::NamedTensors state();                 // and boundary.<b>.receiver.basis, the copy

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mapl::codec
