// Interprets one stage's part of a schedule: forwards, backwards and the transfers between them.
//
// THREADS: one thread owns a worker, its stage and its boundaries.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/stage.h"
#include "pipeline/boundary.h"
#include "pipeline/schedule.h"

namespace mapl::pipeline {

// The ids of a micro-batch, [B, T + 1], int64, on the CPU. Asked of stage 0 only.
using BatchSource = std::function<at::Tensor(int micro_batch)>;

class Worker {
 public:
  struct Options {
    MicroBatchShape shape;
    std::string device = "cpu";
    Trace* trace = nullptr;
  };
  // prev and next are null at the ends of the pipeline. REQUIRES: all outlive the worker.
  Worker(model::Stage& stage, PrevBoundary* prev, NextBoundary* next, const Options& options);

  // Runs the actions in order. Gradients are added to those of the parameters.
  //   divisor  of the loss: valid tokens of the global batch
  //   returns  sum of the micro-batches' losses on the last stage, 0 elsewhere
  // Without a backward in the schedule nothing is kept for one (validation).
  Result<double> run(const std::vector<Action>& actions, uint64_t step, double divisor,
                     const BatchSource& batches);

  double compute_seconds() const { return compute_seconds_; }  // since the start

 private:
  struct InFlight {
    at::Tensor ids;     // [B, T + 1], on the CPU
    at::Tensor z_in;    // what came from prev: a leaf whose gradient goes back
    at::Tensor y;       // this stage's output, until it is sent
    at::Tensor output;  // where the backward starts: z of the next boundary, or the loss
    at::Tensor grad;    // of output, when it has come from next
  };
  struct Run {
    uint64_t step;
    double divisor;
    const BatchSource& batches;
    bool trains;
    double loss = 0;
  };
  Status perform(const Action& action, Run& run);
  void forward(InFlight& flight, Run& run);
  void backward(InFlight& flight);
  double blocked_seconds() const;

  model::Stage& stage_;
  PrevBoundary* prev_;
  NextBoundary* next_;
  Options options_;
  std::map<int, InFlight> in_flight_;
  double compute_seconds_ = 0;
};

}  // namespace mapl::pipeline
