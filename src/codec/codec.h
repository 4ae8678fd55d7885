// What happens at a boundary. The sender's end turns x [N, D] into z [N, R] and bytes; the
// receiver's end turns them back. MAPL (arXiv 2606.05484):
//
//   sender    z = (x - a_s(ids)) A            receiver  x^ = z A^T + a_r(ids)
//
// With boundary.subtract_mean, z - m is packed, m the mean of z over the step before (mean.h).
//
// The maths of an end is ordinary autograd (project, restore); the bytes are outside it (pack,
// unpack), so the gradient passes the packing straight through. pipeline/ ties the halves together.
//
// Both ends share state: the basis A and the mean m, which the sender owns, and what a packing
// learns. It changes at the end of a step, at both ends or at none:
//
//   after the last backward   sender.read_sync(receiver.sync())    half of A's gradient
//   if the step counts        the optimiser steps on both ends' parameters()
//                             receiver.read_sync(sender.sync())    the new A and m
//   (both in every step, also when nothing is due: basis_interval)
//                             commit() at both; their state_hash() then agree
//   if it does not            abort() at both, and after a validation too
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "codec/anchor.h"
#include "codec/options.h"
#include "codec/packing.h"
#include "math/parameter.h"

namespace mapl::codec {

// Everything that one end needs to know of its boundary.
struct EndOptions {
  Options codec;
  int64_t boundary = 0;     // index of the layer that the boundary precedes: global at any cut
  int64_t hidden_size = 0;  // D
  int64_t rows = 0;         // of a micro-batch; used by packings with state for each row
  uint64_t seed = 0;
  std::string device = "cpu";
  std::shared_ptr<Anchor> anchor;  // may be null, may be shared with the stage's other end
};

// Whether a tensor of state() belongs to the run that saved it rather than to its weights: what was
// gathered so far, what was not yet sent. Whoever starts another run from the weights leaves it.
bool is_of_run(const std::string& name);

class SenderEnd {
 public:
  explicit SenderEnd(const EndOptions& options);
  ~SenderEnd();

  int64_t width() const;  // columns of z on the wire
  // The legs as they are now: sizes and ids change when a packing has learned.
  const Packing& activation() const;
  const Packing& gradient() const;
  int64_t activation_bytes(int64_t rows) const;  // packed z, exactly
  int64_t gradient_bytes(int64_t rows) const;    // packed gradient of z, exactly

  // (x - anchor) A, in autograd; x itself for identity without an anchor.
  at::Tensor project(const at::Tensor& x_ND, const at::Tensor& ids_N);
  // ERRORS  RunError when a value is not finite (packing.h); the same for pack_gradient.
  Bytes pack(const at::Tensor& z_NR, const MessageKey& key);
  Result<at::Tensor> unpack_gradient(ByteSpan bytes, int64_t rows, const MessageKey& key);

  at::Tensor basis() const;  // A [D, R]; undefined when the projector has none
  // The basis in float32: what a run starts from, trained or not, for two processors may round what
  // they make from one seed differently. Empty when there is none.
  Bytes packed_basis() const;
  int64_t basis_bytes() const;

  // REQUIRES: read_sync(), the optimiser, sync(), commit(), in this order.
  Status read_sync(ByteSpan bytes,
                   uint64_t step);  // kCorrupt on a wrong length or not finite values
  Bytes sync(uint64_t step);
  int64_t sync_bytes(uint64_t step) const;       // of the sync that this end sends
  int64_t most_forward_sync_bytes() const;       // of that of any step
  int64_t read_sync_bytes(uint64_t step) const;  // of the other end's
  void commit();
  void abort();
  uint64_t state_hash() const;  // of every bit that both ends must share

  // boundary.<b>.sender.basis (if trained), boundary.<b>.sender.anchor.table.
  std::vector<math::Parameter> parameters();
  math::NamedTensors state();  // the same and what is not trained but saved

  // |(x - a) A|^2 / |x - a|^2 of the first micro-batch projected since the last call: a pass over
  // all of them at full width would cost more than it tells. 1 for identity, and for x = a; NaN
  // when nothing was projected, and for bottleneck, which has no basis to measure by.
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
  const Packing& activation() const;
  const Packing& gradient() const;
  int64_t activation_bytes(int64_t rows) const;
  int64_t gradient_bytes(int64_t rows) const;

  Result<at::Tensor> unpack(ByteSpan bytes, int64_t rows, const MessageKey& key);
  // z A^T + anchor, in autograd; z_NR is a leaf that wants its gradient (the caller sets that).
  at::Tensor restore(const at::Tensor& z_NR, const at::Tensor& ids_N);
  Bytes pack_gradient(const at::Tensor& grad_NR, const MessageKey& key);

  at::Tensor basis() const;  // this end's copy
  Status set_basis(ByteSpan bytes);
  int64_t basis_bytes() const;

  // REQUIRES: sync(), read_sync(), commit(), in this order.
  Bytes sync(uint64_t step);
  Status read_sync(ByteSpan bytes, uint64_t step);
  int64_t sync_bytes(uint64_t step) const;
  int64_t read_sync_bytes(uint64_t step) const;
  int64_t most_forward_sync_bytes() const;  // of the sender's, in any step
  void commit();
  void abort();
  uint64_t state_hash() const;

  std::vector<math::Parameter> parameters();  // anchor only: the basis belongs to the sender
  math::NamedTensors state();                 // and boundary.<b>.receiver.basis, the copy

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mapl::codec
