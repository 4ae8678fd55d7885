#include "pipeline/worker.h"

#include <torch/torch.h>

#include "base/clock.h"

namespace mapl::pipeline {

Worker::Worker(model::Stage& stage, PrevBoundary* prev, NextBoundary* next, const Options& options)
    : stage_(stage), prev_(prev), next_(next), options_(options) {}

Result<double> Worker::run(const std::vector<Action>& actions, uint64_t step, double divisor,
                           const BatchSource& batches) {
  Run run{.step = step, .divisor = divisor, .batches = batches, .trains = false};
  for (const Action& action : actions) run.trains |= action.op == Op::kBackward;
  const torch::AutoGradMode grad_mode(run.trains);
  in_flight_.clear();
  for (const Action& action : actions) {
    const int64_t start = now_ns();
    const double blocked_before = blocked_seconds();
    const Status status = perform(action, run);
    compute_seconds_ += 1e-9 * static_cast<double>(now_ns() - start);
    compute_seconds_ -= blocked_seconds() - blocked_before;
    if (!status.is_ok()) return status;
  }
  in_flight_.clear();
  return run.loss;
}

double Worker::blocked_seconds() const {
  return (prev_ ? prev_->channel().blocked_seconds() : 0) +
         (next_ ? next_->channel().blocked_seconds() : 0);
}

Status Worker::perform(const Action& action, Run& run) {
  const auto micro_batch = static_cast<uint32_t>(action.micro_batch);
  InFlight& flight = in_flight_[action.micro_batch];
  switch (action.op) {
    case Op::kRecvActivation: {
      auto activation = prev_->recv_activation(run.step, micro_batch);
      if (!activation.is_ok()) return activation.status();
      flight.ids = activation.value().ids;
      flight.z_in = activation.value().z_NR.to(options_.device).requires_grad_(run.trains);
      return Status::ok();
    }
    case Op::kForward:
      if (!prev_) flight.ids = run.batches(action.micro_batch);
      {
        const Trace::Scope scope(options_.trace, {"forward"}, run.step, action.micro_batch);
        forward(flight, run);
      }
      if (!run.trains && !next_) in_flight_.erase(action.micro_batch);
      return Status::ok();
    case Op::kSendActivation: {
      auto z = next_->send_activation(run.step, micro_batch, flight.y, flight.ids);
      if (!z.is_ok()) return z.status();
      flight.output = z.value();
      flight.y.reset();  // WHY: the full width is not kept beyond what autograd needs
      if (!run.trains) in_flight_.erase(action.micro_batch);
      return Status::ok();
    }
    case Op::kRecvGradient: {
      auto grad = next_->recv_gradient(run.step, micro_batch);
      if (!grad.is_ok()) return grad.status();
      flight.grad = grad.value().to(options_.device);
      return Status::ok();
    }
    case Op::kBackward: {
      const Trace::Scope scope(options_.trace, {"backward"}, run.step, action.micro_batch);
      backward(flight);
    }
      if (!prev_) in_flight_.erase(action.micro_batch);
      return Status::ok();
    case Op::kSendGradient: {
      const Status status = prev_->send_gradient(run.step, micro_batch, flight.z_in.grad());
      in_flight_.erase(action.micro_batch);
      return status;
    }
  }
  return Status::ok();
}

void Worker::forward(InFlight& flight, Run& run) {
  const MicroBatchShape& shape = options_.shape;
  const at::Tensor inputs = inputs_of(flight.ids).contiguous().to(options_.device);
  const at::Tensor x = prev_ ? prev_->end().restore(flight.z_in, inputs.reshape({-1})) : inputs;
  flight.y = stage_.forward(x, shape.batch, shape.sequence_length);
  if (next_) return;
  const at::Tensor targets = targets_of(flight.ids).contiguous().to(options_.device);
  flight.output = stage_.loss(flight.y, targets, run.divisor);
  flight.y.reset();
  run.loss += flight.output.item<double>();
}

void Worker::backward(InFlight& flight) {
  flight.output.backward(flight.grad);
  flight.output.reset();
  flight.grad.reset();
}

}  // namespace mapl::pipeline
