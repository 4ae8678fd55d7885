// What the stages tell each other about a step, in bytes (docs/step.md).
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "pipeline/channel.h"

namespace mapl::pipeline {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

// What one stage measured; on the wire as it stands here.
struct StageReport {
  double squared_norm = 0;         // of this stage's gradients
  double energy_kept = 1;          // by the boundary towards the loss, this step; may be NaN
  double orthogonality_error = 0;  // of that boundary's basis
  // Not a number where there is nothing to tell:
  double basis_angle = kNothing;       // mean principal angle of this stage's two bases, degrees
  double activation_usage = kNothing;  // of codebooks (codec/packing.h) on the way to the loss,
  double gradient_usage = kNothing;    // and on the way back
  double activation_error = kNothing;  // share that their codes have lost, likewise
  double gradient_error = kNothing;
  double compute_seconds = 0;  // this step: forward, backward, codec, optimiser
  double waited_seconds = 0;   // this step: for neighbours
  double sending_seconds = 0;  // this step: blocked by a full send queue
  int64_t peak_rss_bytes = 0;
  int64_t num_parameters = 0;  // trained numbers, those of this stage's ends included
  Traffic traffic;             // since the report before, this vote included
};
static_assert(sizeof(StageReport) == 144, "wire layout");

// Goes from the last stage to stage 0, growing by a report at each.
struct Vote {
  double squared_norm = 0;  // of all stages from here to the last
  double loss = 0;          // mean over the global batch's valid tokens
  uint64_t state_hash =
      0;  // the sender's receiving end of the boundary: must equal the other end's
  bool wants_stop = false;           // someone was asked to end the run after this step
  std::vector<StageReport> reports;  // the sender's first
};

int64_t vote_bytes(int num_reports);
Bytes encode(const Vote& vote);
Result<Vote> decode_vote(ByteSpan bytes, int num_reports);

// Goes from stage 0 to the last: the step counts.
struct Commit {
  double squared_norm = 0;  // of the whole model, before clipping
  double loss = 0;
  bool stop = false;  // this was the last step
};

constexpr int64_t kCommitBytes = 24;
Bytes encode(const Commit& commit);
Result<Commit> decode_commit(ByteSpan bytes);

}  // namespace mapl::pipeline
