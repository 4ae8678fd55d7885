// One stage of a run: its assembly, its boundaries over two links, its data, a step at a time.
//
// THREADS: one thread owns a trainer; the links' threads are the links' own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/batcher.h"
#include "link/link.h"
#include "math/lr_schedule.h"
#include "pipeline/step.h"
#include "train/assembly.h"

namespace mapl::train {

class Trainer {
 public:
  // prev and next are null at the ends of the pipeline. REQUIRES: recipe, assembly and links
  // outlive it.
  //   ERRORS  UserError about the data (stage 0) or the weights to start from.
  Trainer(const Recipe& recipe, int stage, Assembly& assembly, link::Link* prev, link::Link* next);

  // Checks with both neighbours that they run the same thing, and starts from one basis at both
  // ends of each boundary: the sender's.
  Status greet();

  // Step `step`, from 0.
  Result<pipeline::Step::Outcome> train(int64_t step, bool wants_stop);
  // Mean loss over the validation sequences, known on stage 0.
  Result<pipeline::Step::Outcome> validate(int64_t step);

  // Tells the neighbours that this stage leaves, and why.
  void give_up(int64_t step, const std::string& why) {
    step_->abort(static_cast<uint64_t>(step), why);
  }

  double lr_factor(int64_t step) const;
  // Where the next step starts in the training data.
  uint64_t data_position() const { return train_data_ ? train_data_->position() : 0; }
  math::Optimizer& optimizer() { return optimizer_; }

 private:
  Status share_bases();

  const Recipe& recipe_;
  int stage_;
  math::Optimizer optimizer_;
  math::LrSchedule lr_schedule_;
  std::optional<data::Batcher> train_data_;
  std::optional<data::Batcher> validation_data_;
  std::optional<pipeline::Channel> prev_channel_, next_channel_;
  std::optional<pipeline::PrevBoundary> prev_;
  std::optional<pipeline::NextBoundary> next_;
  link::Link* prev_link_;
  link::Link* next_link_;
  std::optional<pipeline::Worker> worker_;
  std::optional<pipeline::Step> step_;
  std::vector<pipeline::Action> train_actions_;
  std::vector<pipeline::Action> validation_actions_;
};

// The largest payload that this stage's links may announce, for the one towards stage 0 and the
// other.
uint64_t prev_payload_limit(const Recipe& recipe, Assembly& assembly);
uint64_t next_payload_limit(const Recipe& recipe, Assembly& assembly);

}  // namespace mapl::train
