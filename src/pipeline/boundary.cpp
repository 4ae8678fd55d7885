#include "pipeline/boundary.h"

#include <fmt/format.h>
#include <torch/torch.h>

namespace mapl::pipeline {
namespace {

uint8_t wire_id(const codec::Packing& packing) { return static_cast<uint8_t>(packing.id()); }

codec::MessageKey key_of(const Channel& channel, const BoundaryOptions& options, uint64_t step,
                         uint32_t micro_batch, bool trains = true) {
  return {.seed = options.seed,
          .step = step,
          .micro_batch = micro_batch,
          .boundary = static_cast<uint32_t>(channel.options().boundary),
          .trains = trains};
}

int64_t id_bytes(const MicroBatchShape& shape) {
  return codec::code_bytes(shape.num_ids(), shape.vocab_size);
}

Trace::Scope encoding(const Channel& channel, uint64_t step, uint32_t micro_batch) {
  return Trace::Scope(channel.options().trace, {"encode"}, step, static_cast<int>(micro_batch));
}
Trace::Scope decoding(const Channel& channel, uint64_t step, uint32_t micro_batch) {
  return Trace::Scope(channel.options().trace, {"decode"}, step, static_cast<int>(micro_batch));
}

Status send_unless_empty(Channel& channel, const Channel::Message& message, Bytes bytes) {
  return bytes.empty() ? Status::ok() : channel.send(message, std::move(bytes));
}

template <typename End>
Status recv_sync_of(Channel& channel, End& end, const Channel::Message& message) {
  const int64_t expected = end.read_sync_bytes(message.step);
  // WHY an empty one too: a sender whose basis rests in this step drops its own half there.
  if (expected == 0) return end.read_sync({}, message.step);
  const auto payload = channel.recv(message, expected);
  if (!payload.is_ok()) return payload.status();
  return end.read_sync(payload.value(), message.step).in(channel.where(message, /*sending=*/false));
}

}  // namespace

at::Tensor inputs_of(const at::Tensor& ids) { return ids.narrow(1, 0, ids.size(1) - 1); }
at::Tensor targets_of(const at::Tensor& ids) { return ids.narrow(1, 1, ids.size(1) - 1); }

NextBoundary::NextBoundary(Channel& channel, codec::SenderEnd& end, const BoundaryOptions& options)
    : channel_(channel), end_(end), options_(options) {}

Result<at::Tensor> NextBoundary::send_activation(uint64_t step, uint32_t micro_batch,
                                                 const at::Tensor& y_ND, const at::Tensor& ids) {
  const uint8_t packing = wire_id(end_.activation());
  at::Tensor z_NR;
  Bytes payload;
  {
    const Trace::Scope scope = encoding(channel_, step, micro_batch);
    z_NR = end_.project(y_ND, inputs_of(ids).reshape({-1}).to(y_ND.device()));
    payload = codec::pack_codes(ids, options_.shape.vocab_size);
    const Bytes packed = end_.pack(
        z_NR.detach(), key_of(channel_, options_, step, micro_batch, z_NR.requires_grad()));
    payload.insert(payload.end(), packed.begin(), packed.end());
  }
  const Status status = channel_.send({.kind = link::Kind::kActivation,
                                       .step = step,
                                       .micro_batch = micro_batch,
                                       .packing = packing},
                                      std::move(payload), id_bytes(options_.shape));
  if (!status.is_ok()) return status;
  return z_NR;
}

Result<at::Tensor> NextBoundary::recv_gradient(uint64_t step, uint32_t micro_batch) {
  const int64_t rows = options_.shape.rows();
  const Channel::Message message{.kind = link::Kind::kGradient,
                                 .step = step,
                                 .micro_batch = micro_batch,
                                 .packing = wire_id(end_.gradient())};
  const auto payload = channel_.recv(message, end_.gradient_bytes(rows));
  if (!payload.is_ok()) return payload.status();
  const Trace::Scope scope = decoding(channel_, step, micro_batch);
  auto grad_NR =
      end_.unpack_gradient(payload.value(), rows, key_of(channel_, options_, step, micro_batch));
  if (!grad_NR.is_ok()) return grad_NR.status().in(channel_.where(message, /*sending=*/false));
  return grad_NR;
}

Status NextBoundary::check_basis(double orthogonality_error) const {
  const std::string& projector = options_.codec.projector;
  const bool held = projector == "stiefel" || projector == "frozen";
  // Written so that NaN fails.
  if (!held || orthogonality_error <= kMaxOrthogonalityError) return Status::ok();
  return Status(
      Code::kRefused,
      fmt::format("the basis of boundary {} is no longer orthonormal: max |A^T A - I| is "
                  "{:.2e}, the limit {:.0e}",
                  channel_.options().boundary, orthogonality_error, kMaxOrthogonalityError));
}

Status NextBoundary::send_start() {
  if (end_.basis_bytes() == 0) return Status::ok();
  return channel_.send({.kind = link::Kind::kBasis}, end_.packed_basis());
}

Status NextBoundary::recv_sync(uint64_t step) {
  return recv_sync_of(channel_, end_, {.kind = link::Kind::kBasisGradient, .step = step});
}

Status NextBoundary::send_sync(uint64_t step, Bytes sync) {
  return send_unless_empty(channel_, {.kind = link::Kind::kBasis, .step = step}, std::move(sync));
}

Status NextBoundary::send_resync(uint64_t step, Bytes sync) {
  return channel_.send({.kind = link::Kind::kResync, .step = step}, std::move(sync));
}

PrevBoundary::PrevBoundary(Channel& channel, codec::ReceiverEnd& end,
                           const BoundaryOptions& options)
    : channel_(channel), end_(end), options_(options) {}

Result<PrevBoundary::Activation> PrevBoundary::recv_activation(uint64_t step,
                                                               uint32_t micro_batch) {
  const MicroBatchShape& shape = options_.shape;
  const int64_t bytes_of_ids = id_bytes(shape);
  const Channel::Message message{.kind = link::Kind::kActivation,
                                 .step = step,
                                 .micro_batch = micro_batch,
                                 .packing = wire_id(end_.activation())};
  const auto payload = channel_.recv(message, bytes_of_ids + end_.activation_bytes(shape.rows()));
  if (!payload.is_ok()) return payload.status();
  const Trace::Scope scope = decoding(channel_, step, micro_batch);
  const std::string where = channel_.where(message, /*sending=*/false);
  const ByteSpan bytes(payload.value());
  const auto ids = codec::unpack_codes(bytes.first(static_cast<size_t>(bytes_of_ids)),
                                       shape.num_ids(), shape.vocab_size, "token id");
  if (!ids.is_ok()) return ids.status().in(where);
  const auto z_NR = end_.unpack(bytes.subspan(static_cast<size_t>(bytes_of_ids)), shape.rows(),
                                key_of(channel_, options_, step, micro_batch));
  if (!z_NR.is_ok()) return z_NR.status().in(where);
  return Activation{ids.value().view({shape.batch, shape.sequence_length + 1}), z_NR.value()};
}

Status PrevBoundary::send_gradient(uint64_t step, uint32_t micro_batch, const at::Tensor& grad_NR) {
  const uint8_t packing = wire_id(end_.gradient());
  Bytes payload;
  {
    const Trace::Scope scope = encoding(channel_, step, micro_batch);
    payload = end_.pack_gradient(grad_NR, key_of(channel_, options_, step, micro_batch));
  }
  return channel_.send(
      {.kind = link::Kind::kGradient, .step = step, .micro_batch = micro_batch, .packing = packing},
      std::move(payload));
}

Status PrevBoundary::recv_start() {
  if (end_.basis_bytes() == 0) return Status::ok();
  const Channel::Message message{.kind = link::Kind::kBasis};
  const auto payload = channel_.recv(message, end_.basis_bytes());
  if (!payload.is_ok()) return payload.status();
  return end_.set_basis(payload.value()).in(channel_.where(message, /*sending=*/false));
}

Status PrevBoundary::send_sync(uint64_t step) {
  return send_unless_empty(channel_, {.kind = link::Kind::kBasisGradient, .step = step},
                           end_.sync(step));
}

Status PrevBoundary::recv_sync(uint64_t step) {
  return recv_sync_of(channel_, end_, {.kind = link::Kind::kBasis, .step = step});
}

Status PrevBoundary::recv_resync(uint64_t step, bool takes) {
  const Channel::Message message{.kind = link::Kind::kResync, .step = step};
  const auto payload = channel_.recv_at_most(message, end_.most_forward_sync_bytes());
  if (!payload.is_ok() || !takes) return payload.status();
  return end_.read_sync(payload.value(), step).in(channel_.where(message, /*sending=*/false));
}

}  // namespace mapl::pipeline
