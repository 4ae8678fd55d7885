// Who computes and sends what in which order, as data (docs/schedules.md).
//
// Text form, one line a stage: "2F0" is the forward of micro-batch 0 on stage 2, B its backward; SA
// and RA send and receive its activation, SG and RG its gradient.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mapl::pipeline {

enum class Op : uint8_t {
  kForward,
  kBackward,
  kSendActivation,
  kRecvActivation,
  kSendGradient,
  kRecvGradient,
};

struct Action {
  Op op = Op::kForward;
  int micro_batch = 0;
  bool operator==(const Action&) const = default;
};

struct Schedule {
  std::vector<std::vector<Action>> stages;  // [stage][position]
  bool operator==(const Schedule&) const = default;
};

// Compute-only generators. Backwards go in ascending order of micro-batches in all of them, so that
// gradients are accumulated in one order and any two schedules give the same bits.

// All forwards, then all backwards. Holds every micro-batch's activations.
Schedule gpipe(int num_stages, int num_micro_batches);

// Warm-up, then one forward and one backward in turn. Stage 0 keeps in_flight micro-batches under
// way, the last stage one, those between in proportion: num_stages is plain 1F1B (0 means that), 2
// num_stages - 1 hides one more crossing of every link, num_micro_batches hides all that can be
// hidden.
Schedule one_forward_one_backward(int num_stages, int num_micro_batches, int in_flight = 0);

// Forwards alone: validation.
Schedule forward_only(int num_stages, int num_micro_batches);

// By the recipe's name, "gpipe" or "1f1b", with transfers.
//   ERRORS  UserError for another name.
Schedule make_schedule(const std::string& name, int num_stages, int num_micro_batches,
                       int in_flight = 0);

// Adds what crosses the boundaries: a receive right before its use, a send right after.
Schedule with_transfers(const Schedule& compute);

std::string print(const Schedule& schedule);
// Inverse of print.
//   ERRORS  UserError that names line and word.
Schedule parse(const std::string& text);

}  // namespace mapl::pipeline
