// Which step all stages go on from, after a start and after a failure (docs/step.md).
//
//   offer   last stage to stage 0: the steps that a stage, and all those after it, can go on from;
//           stage 0 to the last: the latest of those, alone
//           now each stage brings itself there, from memory, a neighbour's memory or disk
//   resume  stage 0 to the last: how that step was decided, and what is left to do of it
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "pipeline/channel.h"
#include "pipeline/vote.h"

namespace mapl::pipeline {

// Numbers of finished steps.
using Steps = std::vector<uint64_t>;

constexpr int64_t kMaxOffers = 1024;
constexpr int64_t kMaxOfferBytes = 8 * kMaxOffers;

struct Resume {
  uint64_t finished = 0;   // go on as after so many steps
  bool validates = false;  // and validate first: it was due, and failed before stage 0 had it
  Commit commit;           // of the last finished step, for stages that had not heard
};

constexpr int64_t kResumeBytes = 16 + kCommitBytes;
Bytes encode(const Resume& resume);
Result<Resume> decode_resume(ByteSpan bytes);

// Ascending, without repetition. kCorrupt when it is not, or is too long.
Bytes encode_offer(const Steps& steps);
Result<Steps> decode_offer(ByteSpan bytes);

// prev and next are null at the ends of the pipeline.
//   own      steps that this stage can go on from, in any order
//   returns  the step of all
//   ERRORS   kRefused on stage 0 when there is no such step; those of the channels
Result<uint64_t> agree(Channel* prev, Channel* next, Steps own);

// Passes stage 0's on to all. WHY after all stand there: only then does stage 0, which may have
// been started again or gone back, know how the step was decided.
//   own     on stage 0: what to pass on
//   ERRORS  kCorrupt when it is of another step than agreed
Result<Resume> pass_on(Channel* prev, Channel* next, uint64_t agreed, const Resume& own);

}  // namespace mapl::pipeline
