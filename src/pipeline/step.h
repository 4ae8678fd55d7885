// One optimiser step as a transaction over all stages: applied on every stage or on none
// (docs/step.md).
//
//   schedule -> vote (last stage to stage 0) -> commit (stage 0 to last) -> optimiser -> new bases
//
// Nothing is applied before the commit. On any failure the neighbours are told why and the caller
// gets the status; parameters, optimiser and codec state are then those of the step before.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "math/optimizer.h"
#include "math/subspace.h"
#include "pipeline/tied_head.h"
#include "pipeline/vote.h"
#include "pipeline/worker.h"

namespace mapl::pipeline {

class Step {
 public:
  struct Options {
    int stage = 0;
    int num_stages = 1;
    double max_norm = 0;  // of the global gradient; 0: no clipping
    int64_t tied_bytes =
        0;  // of the matrix that is both embedding and head; 0: the head is its own
    std::vector<math::HeldWeight>* held = nullptr;  // of a subspace projector; may be null
  };
  Step(model::Stage& stage, Worker& worker, math::Optimizer& optimizer, PrevBoundary* prev,
       NextBoundary* next, const Options& options);

  struct Outcome {
    double loss = 0;                   // mean over the global batch
    double squared_norm = 0;           // of the global gradient before clipping
    bool stop = false;                 // all stages end after this step
    std::vector<StageReport> reports;  // of this stage and those after it
  };

  // One training step.
  //   lr_factor   of the schedule, 0..1
  //   wants_stop  this stage was asked to end the run
  Result<Outcome> train(const std::vector<Action>& actions, uint64_t step, double divisor,
                        double lr_factor, const BatchSource& batches, bool wants_stop);

  // Forwards only; `loss` is known on stage 0, 0 elsewhere.
  Result<Outcome> validate(const std::vector<Action>& actions, uint64_t step, double divisor,
                           const BatchSource& batches);

  // Tells both neighbours that this stage gives up, and why.
  void abort(uint64_t step, const std::string& why) noexcept;

 private:
  Result<Outcome> try_train(const std::vector<Action>& actions, uint64_t step, double divisor,
                            double lr_factor, const BatchSource& batches, bool wants_stop);
  Result<Outcome> guard(uint64_t step, const std::function<Result<Outcome>()>& body);
  // From the next stage's vote to one that also covers this stage, sent on to prev.
  Result<Vote> vote(uint64_t step, double loss, bool wants_stop, bool trained);
  Result<Commit> commit(uint64_t step, const Vote& vote);
  Status apply(uint64_t step, double lr_factor, const Commit& commit);
  void abort_ends();
  void for_each_held(void (math::HeldWeight::*change)());
  StageReport report();

  Worker& worker_;
  math::Optimizer& optimizer_;
  PrevBoundary* prev_;
  NextBoundary* next_;
  Options options_;
  std::optional<TiedHead> tied_;
  double optimizer_seconds_ = 0;  // since the start
  StageReport reported_;          // running totals at the last report
};

}  // namespace mapl::pipeline
