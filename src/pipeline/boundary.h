// One side of a boundary: the codec's end and the channel, tied together. A stage has at most two,
// one towards stage 0 (prev) and one towards the loss (next).
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "base/status.h"
#include "codec/codec.h"
#include "codec/codes.h"
#include "pipeline/agreement.h"
#include "pipeline/channel.h"
#include "pipeline/vote.h"

namespace mapl::pipeline {

// Of a micro-batch: B windows of T + 1 token ids.
struct MicroBatchShape {
  int64_t batch = 1;
  int64_t sequence_length = 1;
  int64_t vocab_size = 2;

  int64_t rows() const { return batch * sequence_length; }
  int64_t num_ids() const { return batch * (sequence_length + 1); }
};

// INVARIANT of every step of every run, max abs(A^T A - I); a free projector is not held to it.
constexpr double kMaxOrthogonalityError = 1e-6;

struct BoundaryOptions {
  MicroBatchShape shape;
  codec::Options codec;
  uint64_t seed = 0;
};

// The first T ids of each window: the tokens that go in. [B, T + 1] -> [B, T].
at::Tensor inputs_of(const at::Tensor& ids);
// The last T: what is to be predicted.
at::Tensor targets_of(const at::Tensor& ids);

class NextBoundary {
 public:
  NextBoundary(Channel& channel, codec::SenderEnd& end, const BoundaryOptions& options);

  //   y_ND     what this stage computed
  //   ids      [B, T + 1], int64, on the CPU
  //   returns  z [N, R], in the graph: where the backward of this micro-batch starts
  Result<at::Tensor> send_activation(uint64_t step, uint32_t micro_batch, const at::Tensor& y_ND,
                                     const at::Tensor& ids);
  // The gradient of z, [N, R].
  Result<at::Tensor> recv_gradient(uint64_t step, uint32_t micro_batch);

  // kRefused when a basis that must be orthonormal is further from it than kMaxOrthogonalityError.
  Status check_basis(double orthogonality_error) const;

  Status send_start();                          // the basis that the run starts from
  Status recv_sync(uint64_t step);              // the other end's, and takes it in (codec.h)
  Status send_sync(uint64_t step, Bytes sync);  // what end().sync() gave; nothing when it is empty
  // The same again after new links, whether or not it had arrived.
  Status send_resync(uint64_t step, Bytes sync);

  Channel& channel() { return channel_; }
  codec::SenderEnd& end() { return end_; }

 private:
  Channel& channel_;
  codec::SenderEnd& end_;
  BoundaryOptions options_;
};

class PrevBoundary {
 public:
  PrevBoundary(Channel& channel, codec::ReceiverEnd& end, const BoundaryOptions& options);

  struct Activation {
    at::Tensor ids;   // [B, T + 1], int64
    at::Tensor z_NR;  // as unpacked, a leaf
  };
  Result<Activation> recv_activation(uint64_t step, uint32_t micro_batch);
  Status send_gradient(uint64_t step, uint32_t micro_batch, const at::Tensor& grad_NR);

  Status recv_start();
  Status send_sync(uint64_t step);
  Status recv_sync(uint64_t step);
  Status recv_resync(uint64_t step, bool takes);  // and takes it in, or drops it

  Channel& channel() { return channel_; }
  codec::ReceiverEnd& end() { return end_; }

 private:
  Channel& channel_;
  codec::ReceiverEnd& end_;
  BoundaryOptions options_;
};

// The largest payload that the link of this boundary may announce: all kinds of message considered.
//   End         codec::SenderEnd or codec::ReceiverEnd
//   tied_bytes  of a tied matrix's gradient, 0 when the head is its own
template <typename End>
uint64_t max_payload_bytes(const End& end, const MicroBatchShape& shape, int num_stages,
                           int64_t tied_bytes) {
  const int64_t ids = codec::code_bytes(shape.num_ids(), shape.vocab_size);
  return static_cast<uint64_t>(std::max(
      {kMaxOfferBytes, ids + end.activation().most_packed_bytes(shape.rows(), end.width()),
       end.gradient().most_packed_bytes(shape.rows(), end.width()), end.most_forward_sync_bytes(),
       end.basis_bytes() + end.gradient().most_announced_bytes(), vote_bytes(num_stages),
       tied_bytes, link::kMaxAbortBytes}));
}

}  // namespace mapl::pipeline
