#include "train/trainer.h"

#include <fmt/format.h>

#include "base/check.h"
#include "link/hello.h"
#include "pipeline/schedule_check.h"
#include "train/batches.h"
#include "train/version.h"

namespace mapl::train {
namespace {

constexpr double kGreetSeconds = 30;

pipeline::Channel::Options channel_options(const Recipe& recipe, int stage, int neighbour) {
  return {.stage = stage,
          .neighbour = neighbour,
          .boundary = std::min(stage, neighbour),
          .timeout_seconds = recipe.link.timeout_seconds};
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, int stage, Assembly& assembly, link::Link* prev,
                 link::Link* next)
    : recipe_(recipe),
      stage_(stage),
      optimizer_(assembly.parameters(), optimizer_options(recipe)),
      lr_schedule_(lr_schedule_options(recipe)),
      prev_link_(prev),
      next_link_(next) {
  const auto num_stages = static_cast<int>(recipe.pipeline.stages);
  if (stage == 0) {
    train_data_.emplace(open_training_data(recipe));
    validation_data_.emplace(open_validation_data(recipe));
  }
  if (prev != nullptr) {
    prev_channel_.emplace(*prev, channel_options(recipe, stage, stage - 1));
    prev_.emplace(*prev_channel_, *assembly.prev_end(), boundary_options(recipe));
  }
  if (next != nullptr) {
    next_channel_.emplace(*next, channel_options(recipe, stage, stage + 1));
    next_.emplace(*next_channel_, *assembly.next_end(), boundary_options(recipe));
  }
  if (prev_channel_ && next_channel_) {
    prev_channel_->watch(&*next_channel_);
    next_channel_->watch(&*prev_channel_);
  }
  pipeline::PrevBoundary* prev_boundary = prev_ ? &*prev_ : nullptr;
  pipeline::NextBoundary* next_boundary = next_ ? &*next_ : nullptr;
  worker_.emplace(assembly.stage(), prev_boundary, next_boundary,
                  pipeline::Worker::Options{.shape = micro_batch_shape(recipe),
                                            .device = recipe.training.device});
  step_.emplace(assembly.stage(), *worker_, optimizer_, prev_boundary, next_boundary,
                pipeline::Step::Options{.stage = stage,
                                        .num_stages = num_stages,
                                        .max_norm = recipe.training.max_norm,
                                        .tied_bytes = tied_bytes(recipe),
                                        .held = &assembly.held()});
  const auto schedule =
      pipeline::make_schedule(recipe.pipeline.schedule, num_stages, num_micro_batches(recipe),
                              static_cast<int>(recipe.pipeline.in_flight));
  const std::string problem = pipeline::find_problem(schedule);
  MAPL_CHECK(problem.empty(), "{}", problem);
  train_actions_ = schedule.stages[static_cast<size_t>(stage)];
  const auto num_validation =
      static_cast<int>(recipe.validation.num_sequences / recipe.training.microbatch_size);
  validation_actions_ = pipeline::with_transfers(pipeline::forward_only(num_stages, num_validation))
                            .stages[static_cast<size_t>(stage)];
}

Status Trainer::greet() {
  const auto hello = [&](int stage) {
    return link::Hello{.mapl_version = kVersion,
                       .recipe_hash = hash(recipe_),
                       .stage = static_cast<uint32_t>(stage),
                       .num_stages = static_cast<uint32_t>(recipe_.pipeline.stages)};
  };
  for (const auto& [link, neighbour] :
       {std::pair(prev_link_, stage_ - 1), std::pair(next_link_, stage_ + 1)}) {
    if (link == nullptr) continue;
    const Status status =
        link::greet(*link, hello(stage_), hello(neighbour), in_seconds(kGreetSeconds));
    if (!status.is_ok()) {
      const Status located =
          status.in(fmt::format("stage {}: greeting stage {}", stage_, neighbour));
      step_->abort(0, located.message());
      return located;
    }
  }
  return share_bases();
}

// WHY: two machines can compute a start that differs in a bit; the owner's is the one that counts.
Status Trainer::share_bases() {
  if (next_) {
    const Status status = next_->send_start();
    if (!status.is_ok()) return status;
  }
  return prev_ ? prev_->recv_start() : Status::ok();
}

Result<pipeline::Step::Outcome> Trainer::train(int64_t step, bool wants_stop) {
  return step_->train(
      train_actions_, static_cast<uint64_t>(step), static_cast<double>(tokens_per_step(recipe_)),
      lr_factor(step), [&](int) { return next_ids(recipe_, *train_data_); }, wants_stop);
}

Result<pipeline::Step::Outcome> Trainer::validate(int64_t step) {
  if (validation_data_) validation_data_->seek(0);
  const auto tokens = recipe_.validation.num_sequences * recipe_.training.sequence_length;
  return step_->validate(validation_actions_, static_cast<uint64_t>(step),
                         static_cast<double>(tokens),
                         [&](int) { return next_ids(recipe_, *validation_data_); });
}

double Trainer::lr_factor(int64_t step) const {
  return lr_schedule_.factor(step, recipe_.training.steps);
}

uint64_t prev_payload_limit(const Recipe& recipe, Assembly& assembly) {
  return pipeline::max_payload_bytes(*assembly.prev_end(), micro_batch_shape(recipe),
                                     static_cast<int>(recipe.pipeline.stages), tied_bytes(recipe));
}

uint64_t next_payload_limit(const Recipe& recipe, Assembly& assembly) {
  return pipeline::max_payload_bytes(*assembly.next_end(), micro_batch_shape(recipe),
                                     static_cast<int>(recipe.pipeline.stages), tied_bytes(recipe));
}

}  // namespace mapl::train
