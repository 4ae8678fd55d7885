// One stage of a run: its assembly, its boundaries over two links, its data, a step at a time.
//
// THREADS: one thread owns a trainer; the links' threads are the links' own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "data/batcher.h"
#include "link/link.h"
#include "math/lr_schedule.h"
#include "pipeline/mirror.h"
#include "pipeline/step.h"
#include "train/assembly.h"

namespace mapl::train {

// What a stage can fall back on when links were re-made or it was started again.
struct Saved {
  pipeline::Steps steps = {};                    // numbers of finished steps; 0: the start
  std::function<Status(uint64_t)> restore = {};  // to one of them, unless the stage stands there
  std::function<bool(uint64_t)> validates = {};  // stage 0: whether a validation is owed there
};

class Trainer {
 public:
  // REQUIRES: recipe, assembly and trace outlive it. trace may be null.
  //   ERRORS  UserError about the data (stage 0).
  Trainer(const Recipe& recipe, int stage, Assembly& assembly, pipeline::Trace* trace = nullptr);

  // Links to work over, at the start and again when they were re-made; null at the ends of the
  // pipeline. REQUIRES: they outlive the trainer or the next call of either.
  void connect(link::Link* prev, link::Link* next);
  void disconnect();

  // Checks with both neighbours that they run the same thing, and agrees with all stages on the
  // step to go on from. From the start, both ends of each boundary take the sender's basis.
  //   stop     ends its waits for others when asked (kClosed)
  //   returns  where this stage now stands
  Result<pipeline::Resume> greet(const Saved& saved = {}, const std::stop_token& stop = {});
  // At the end of a run: returns when all stages have come to theirs.
  Status part();

  // Step `step`, from 0.
  Result<pipeline::Step::Outcome> train(int64_t step, bool wants_stop);
  // Mean loss over the validation sequences, known on stage 0.
  Result<pipeline::Step::Outcome> validate(int64_t step);

  // On all stages after the same step: hands `state`, this stage's, to its keeper.
  // REQUIRES: checkpoint.mirror_interval > 0.
  Status mirror(Bytes state);
  // This stage's state after so many steps, from its own memory or its keeper's; null when neither
  // has it.
  const Bytes* mirrored(uint64_t finished_steps) const {
    return mirror_ ? mirror_->own(finished_steps) : nullptr;
  }

  // Of the last step that counts, or on stage 0 was decided upon; not of one before load_state().
  pipeline::Step::Outcome last_outcome() const;

  // Tells the neighbours that this stage leaves, and why.
  void give_up(const Status& why) {
    if (step_) step_->abort(transaction_.finished, why);
  }

  // For a stage that leaves: drops what it has of a step that it does not know to be decided.
  //   returns  false when its last step lacks what prev announces: then state() is not whole
  bool drop_undecided();
  int64_t finished_steps() const { return static_cast<int64_t>(transaction_.finished); }
  // Everything that makes the steps to come what they would have been: weights, codec, optimiser,
  // place in the data, the transaction. The live tensors.
  math::NamedTensors state();
  // Warns of a boundary's tensors that are not there and starts them afresh.
  //   ERRORS  UserError when other tensors are missing or a shape differs
  void load_state(const math::NamedTensors& state, int64_t finished_steps);
  // As at construction, from weights that are in place.
  void start_afresh();

  double lr_factor(int64_t step) const;
  math::Optimizer& optimizer() { return optimizer_; }

 private:
  // Until all agree on a step a request to stop ends what waits; then it is for the next vote.
  Result<pipeline::Resume> come_together(const Saved& saved, const std::stop_token& stop);
  Status say_hello(const std::stop_token& stop);
  void heed(const std::stop_token& stop);
  Status bring_to(uint64_t finished, const Saved& saved);
  Status share_bases();
  int64_t largest_sync();  // bytes that the stage's sender may announce at the end of a step
  uint64_t data_position(int64_t step) const;  // where the step begins in the training data
  std::string own(const char* what) const;     // "stage.2.commit"

  const Recipe& recipe_;
  int stage_;
  Assembly& assembly_;
  pipeline::Trace* trace_;
  pipeline::Transaction transaction_;
  uint64_t data_start_ = 0;  // position in the data where step data_start_step_ begins
  int64_t data_start_step_ = 0;
  math::Optimizer optimizer_;
  math::LrSchedule lr_schedule_;
  std::optional<data::Batcher> train_data_;
  std::optional<data::Batcher> validation_data_;
  std::optional<pipeline::Mirror> mirror_;
  std::optional<pipeline::Channel> prev_channel_, next_channel_;
  std::optional<pipeline::PrevBoundary> prev_;
  std::optional<pipeline::NextBoundary> next_;
  link::Link* prev_link_ = nullptr;
  link::Link* next_link_ = nullptr;
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
