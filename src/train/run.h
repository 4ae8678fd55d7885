// A whole run of one stage: steps, validation, checkpoints, and on stage 0 the Run folder.
#pragma once

#include <stop_token>
#include <string>

#include "base/status.h"
#include "train/assembly.h"
#include "train/trainer.h"

namespace mapl::train {

struct RunOptions {
  std::string folder;          // of the run; exists
  bool show_progress = false;  // on stage 0, to stderr
  std::stop_token stop;        // asked to stop: the run ends after the step under way, saved
};

// Greets, trains, validates, saves.
//   returns  what ended the run early, if the world did
//   ERRORS   UserError about data, weights to start from, or a folder that cannot be written
Status run_stage(const Recipe& recipe, int stage, Assembly& assembly, Trainer& trainer,
                 const RunOptions& options);

// Where checkpoints of this run go.
std::string checkpoint_root(const Recipe& recipe, const std::string& run_folder);

// Makes the folder and writes recipe.toml.
//   ERRORS  UserError when it already holds a run.
void create_run_folder(const Recipe& recipe, const std::string& folder);
// The same for a stage that may share the folder with others of its run or have one of its own:
// makes what is not there.
void ensure_run_folder(const Recipe& recipe, const std::string& folder);

// Weights of a Run, a checkpoint folder or a safetensors file.
//   ERRORS  UserError when there is none at `path`.
math::NamedTensors load_weights(const std::string& path);

// Starts a stage from weights that `from` names in messages; warns of a boundary's tensors that are
// not among them (the other run had no such boundary) and keeps their own start.
//   ERRORS  UserError when the model's own are missing or of another shape
void start_from(const math::NamedTensors& weights, const std::string& from, int stage,
                Assembly& assembly);

}  // namespace mapl::train
