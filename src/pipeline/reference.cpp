#include "pipeline/reference.h"

#include <torch/torch.h>

#include <optional>

#include "pipeline/tied_head.h"

namespace mapl::pipeline {
namespace {

at::Tensor unpacked(Result<at::Tensor> result, const at::Tensor& like) {
  if (!result.is_ok()) throw RunError(result.status());
  return result.value().to(like.device());
}

// z as the receiver unpacks it; its gradient as the sender unpacks that.
class RoundTrip : public torch::autograd::Function<RoundTrip> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& z_NR,
                            int64_t wire_address) {
    context->saved_data["wire"] = wire_address;
    const Reference::Wire& wire = *reinterpret_cast<Reference::Wire*>(wire_address);
    return unpacked(wire.to.unpack(wire.from.pack(z_NR, wire.key), z_NR.size(0), wire.key), z_NR);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const Reference::Wire& wire =
        *reinterpret_cast<Reference::Wire*>(context->saved_data["wire"].toInt());
    const at::Tensor& grad_NR = grads[0];
    return {unpacked(wire.from.unpack_gradient(wire.to.pack_gradient(grad_NR, wire.key),
                                               grad_NR.size(0), wire.key),
                     grad_NR),
            at::Tensor()};
  }
};

}  // namespace

Reference::Reference(std::vector<Piece> pieces, const Options& options)
    : pieces_(std::move(pieces)), options_(options) {}

Result<Reference::Outcome> Reference::train(math::Optimizer& optimizer, int num_micro_batches,
                                            uint64_t step, double divisor, double lr_factor,
                                            const BatchSource& batches) try {
  optimizer.zero_grad();
  for_each_held(&math::HeldWeight::zero_grad);
  Outcome outcome;
  for (int m = 0; m < num_micro_batches; ++m) {
    std::vector<Wire> wires;
    const at::Tensor loss = forward(batches(m), step, static_cast<uint32_t>(m), divisor, wires);
    loss.backward();
    outcome.loss += loss.item<double>();
  }
  for (size_t i = 0; i + 1 < pieces_.size(); ++i) {
    const Status status = pieces_[i].next->read_sync(pieces_[i + 1].prev->sync(step), step);
    if (!status.is_ok()) return status;
  }
  std::optional<TiedHead> tied;
  at::Tensor tied_sum;
  if (options_.tied_head) {
    math::NamedTensors both = pieces_.front().stage->parameters();
    const auto& last = pieces_.back().stage->parameters();
    both.insert(both.end(), last.begin(), last.end());
    tied.emplace(both, nullptr, nullptr, 0);
    const auto sum = tied->exchange(step);
    if (!sum.is_ok()) return sum.status();
    tied_sum = sum.value();
  }
  for_each_held(&math::HeldWeight::before_optimizer);
  outcome.squared_norm = optimizer.add_squared_norm(0);
  if (tied) tied->share(tied_sum);
  optimizer.step(lr_factor, math::clip_scale(outcome.squared_norm, options_.max_norm));
  for_each_held(&math::HeldWeight::after_optimizer);
  for (size_t i = 0; i + 1 < pieces_.size(); ++i) {
    const Status status = pieces_[i + 1].prev->read_sync(pieces_[i].next->sync(step), step);
    if (!status.is_ok()) return status;
    pieces_[i].next->commit();
    pieces_[i + 1].prev->commit();
  }
  return outcome;
} catch (const RunError& error) {
  return error.status();
}

Result<double> Reference::validate(int num_micro_batches, uint64_t step, double divisor,
                                   const BatchSource& batches) try {
  const torch::NoGradGuard no_grad;
  double total = 0;
  for (int m = 0; m < num_micro_batches; ++m) {
    std::vector<Wire> wires;
    total += forward(batches(m), step, static_cast<uint32_t>(m), divisor, wires).item<double>();
  }
  for (size_t i = 0; i + 1 < pieces_.size(); ++i) {
    pieces_[i].next->abort();
    pieces_[i + 1].prev->abort();
  }
  return total;
} catch (const RunError& error) {
  return error.status();
}

void Reference::for_each_held(void (math::HeldWeight::*change)()) {
  for (Piece& piece : pieces_) {
    if (piece.held == nullptr) continue;
    for (math::HeldWeight& weight : *piece.held) (weight.*change)();
  }
}

at::Tensor Reference::forward(const at::Tensor& ids, uint64_t step, uint32_t micro_batch,
                              double divisor, std::vector<Wire>& wires) {
  const MicroBatchShape& shape = options_.shape;
  const at::Tensor inputs = inputs_of(ids).contiguous().to(options_.device);
  const at::Tensor flat = inputs.reshape({-1});
  wires.reserve(pieces_.size());  // the graph keeps addresses of wires
  at::Tensor x = pieces_.front().stage->forward(inputs, shape.batch, shape.sequence_length);
  for (size_t i = 0; i + 1 < pieces_.size(); ++i) {
    wires.push_back({*pieces_[i].next,
                     *pieces_[i + 1].prev,
                     {.seed = options_.seed,
                      .step = step,
                      .micro_batch = micro_batch,
                      .boundary = static_cast<uint32_t>(i),
                      .trains = at::GradMode::is_enabled()}});
    const at::Tensor z_NR = RoundTrip::apply(pieces_[i].next->project(x, flat),
                                             reinterpret_cast<int64_t>(&wires.back()));
    x = pieces_[i + 1].stage->forward(pieces_[i + 1].prev->restore(z_NR, flat), shape.batch,
                                      shape.sequence_length);
  }
  return pieces_.back().stage->loss(x, targets_of(ids).contiguous().to(options_.device), divisor);
}

}  // namespace mapl::pipeline
