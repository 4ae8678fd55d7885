// A stage with its codec ends and its optimiser, made from the recipe alone: the same values in
// every process, nothing to send before the first step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "math/lr_schedule.h"
#include "math/optimizer.h"
#include "math/subspace.h"
#include "model/stage.h"
#include "pipeline/boundary.h"
#include "train/recipe.h"

namespace mapl::train {

class Assembly {
 public:
  // Stage `stage` of recipe.pipeline.stages.
  Assembly(const Recipe& recipe, int stage);

  model::Stage& stage() { return *stage_; }
  codec::ReceiverEnd* prev_end() { return prev_end_.get(); }  // null on the first stage
  codec::SenderEnd* next_end() { return next_end_.get(); }    // null on the last

  // In the order that the gradient norm is summed in, backwards: receiver's end, model, sender's
  // end.
  std::vector<math::Parameter> parameters();

  // Weights that a subspace projector holds in its span; they stand in parameters() by their own
  // names.
  std::vector<math::HeldWeight>& held() { return held_; }

  // Everything that evaluation needs, by global name: weights, bases, anchors.
  math::NamedTensors state();

  // Copies what `tensors` has for this stage into place.
  //   returns  the names that it has not; they keep their start
  //   ERRORS   UserError when a shape differs
  std::vector<std::string> load(const math::NamedTensors& tensors);

 private:
  std::unique_ptr<model::Stage> stage_;
  std::unique_ptr<codec::ReceiverEnd> prev_end_;
  std::unique_ptr<codec::SenderEnd> next_end_;
  std::vector<math::HeldWeight> held_;
};

math::Optimizer::Options optimizer_options(const Recipe& recipe);
math::LrSchedule::Options lr_schedule_options(const Recipe& recipe);
pipeline::MicroBatchShape micro_batch_shape(const Recipe& recipe);
pipeline::BoundaryOptions boundary_options(const Recipe& recipe);
// V x D float32 when the head is tied and lives apart from the embedding or not; 0 when it is its
// own.
int64_t tied_bytes(const Recipe& recipe);
int num_micro_batches(const Recipe& recipe);
// Of a stage's weights, codec and optimiser when a run starts; packings keep more later.
// WHY from the stage itself: nothing else knows what all its parts keep.
int64_t state_bytes_at_start(const Recipe& recipe, int stage);
// Tokens of a step: what the loss is divided by.
int64_t tokens_per_step(const Recipe& recipe);

}  // namespace mapl::train
