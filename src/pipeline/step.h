// One optimiser step as a transaction over all stages: applied on every stage or on none
// (docs/step.md).
//
//   schedule -> vote (last stage to stage 0) -> commit (stage 0 to last) -> optimiser -> new bases
//
// Nothing is applied before the commit. On any failure the neighbours are told why and the caller
// gets the status. What a stage then has is told by its Transaction: all of the step before, or all
// of this step but for what prev announces at its end. After new links agree() (agreement.h) finds
// the step to go on from, and settle() brings this stage there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "math/optimizer.h"
#include "math/subspace.h"
#include "pipeline/agreement.h"
#include "pipeline/tied_head.h"
#include "pipeline/vote.h"
#include "pipeline/worker.h"

namespace mapl::pipeline {

// Where a stage stands: what must outlive its links.
struct Transaction {
  enum class Phase : uint8_t {
    kOpen,     // `finished` steps count; what was computed since can be dropped
    kVoted,    // and step `finished` counts if stage 0 has said so: all gradients are there
    kApplied,  // step `finished` counts; what prev announced at its end has not arrived
  };
  uint64_t finished = 0;
  Phase phase = Phase::kOpen;
  // Of the last step that was applied, or on stage 0 decided upon:
  Commit commit;
  std::vector<StageReport> reports;  // on stage 0, of its vote
  Bytes sync;                        // what this stage announced to next
  at::Tensor tied_sum;               // of the gradients of a tied matrix
  Traffic unreported;                // of attempts that failed

  // The steps that this stage can go on from without loading anything.
  Steps offers() const;
};

class Step {
 public:
  struct Options {
    int stage = 0;
    int num_stages = 1;
    double max_norm = 0;  // of the global gradient; 0: no clipping
    int64_t tied_bytes =
        0;  // of the matrix that is both embedding and head; 0: the head is its own
    std::vector<math::HeldWeight>* held = nullptr;  // of a subspace projector; may be null
    Trace* trace = nullptr;
  };
  // One for each set of links. REQUIRES: all outlive it.
  Step(model::Stage& stage, Worker& worker, math::Optimizer& optimizer, PrevBoundary* prev,
       NextBoundary* next, Transaction& transaction, const Options& options);

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

  // Brings this stage to `finished` steps, one of its offers, and the codec with it: an exchange
  // with both neighbours.
  //   commit     of step finished - 1
  //   lr_factor  the same
  Status settle(uint64_t finished, const Commit& commit, double lr_factor);

  // Tells both neighbours that this stage gives up the step, or the run, and why.
  void abort(uint64_t step, const Status& why) noexcept;

 private:
  Result<Outcome> try_train(const std::vector<Action>& actions, uint64_t step, double divisor,
                            double lr_factor, const BatchSource& batches, bool wants_stop);
  Result<Outcome> guard(uint64_t step, const std::function<Result<Outcome>()>& body);
  // From the next stage's vote to one that also covers this stage, sent on to prev.
  Result<Vote> vote(uint64_t step, double loss, bool wants_stop, bool trained);
  Result<Commit> commit(uint64_t step, const Vote& vote);
  Status apply(uint64_t step, double lr_factor, const Commit& commit);
  void apply_own(uint64_t step, double lr_factor, const Commit& commit);
  void finish();
  void count_as_reported();
  void abort_ends();
  void for_each_held(void (math::HeldWeight::*change)());
  StageReport measured() const;  // since this object was made
  StageReport report();
  // Mean principal angle of the bases before and after the stage, in degrees; NaN without both.
  double basis_angle() const;

  Worker& worker_;
  math::Optimizer& optimizer_;
  PrevBoundary* prev_;
  NextBoundary* next_;
  Transaction& transaction_;
  Options options_;
  std::optional<TiedHead> tied_;
  double optimizer_seconds_ = 0;  // since the start
  StageReport reported_;          // measured() at the last report
  Traffic counted_;               // of those, what stage 0 has heard of
};

}  // namespace mapl::pipeline
