// A whole run of one stage: steps, validation, checkpoints, and on stage 0 the Run folder.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "base/status.h"
#include "train/assembly.h"
#include "train/links.h"
#include "train/trainer.h"

namespace mapl::train {

struct RunOptions {
  std::string folder;          // of the run; exists
  bool show_progress = false;  // on stage 0, to stderr
  std::stop_token stop;        // asked to stop: the run ends after the step under way, saved
  pipeline::Trace* trace = nullptr;
  // Makes the links anew; empty when they cannot be: a failure then ends the run.
  std::function<Result<StageLinks>(double seconds)> open_links = {};
};

// Greets, goes on from the latest step that all stages can go on from, trains, validates, saves.
// After a failure of a link or a neighbour it makes new links and goes on (docs/recovery.md).
//   returns  what ended the run early, if the world did
//   ERRORS   UserError about data, weights to start from, or a folder that cannot be written
Status run_stage(const Recipe& recipe, int stage, Assembly& assembly, Trainer& trainer,
                 const RunOptions& options);

// Weights of a Run, a checkpoint folder or a safetensors file.
//   ERRORS  UserError when there is none at `path`.
math::NamedTensors load_weights(const std::string& path);

// Starts a stage from weights that `from` names in messages; warns of a boundary's tensors that are
// not among them (the other run had no such boundary) and keeps their own start.
//   ERRORS  UserError when the model's own are missing or of another shape
void start_from(const math::NamedTensors& weights, const std::string& from, int stage,
                Assembly& assembly);

}  // namespace mapl::train
