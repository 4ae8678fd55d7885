// The folder of a run: what is where, and who may use it (docs/run_folder.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "train/recipe.h"

namespace mapl::train {

// Where checkpoints of this run go.
std::string checkpoint_root(const Recipe& recipe, const std::string& run_folder);

// What a stage did, and when; all of them in one, <folder>/trace.json.
std::string trace_path(const std::string& folder, int64_t stage);
void merge_run_traces(const std::string& folder, int64_t num_stages);

// What a run must not begin with, though the recipe of one that is there may have it.
//   ERRORS  UserError: codebooks that would come after its last step
void check_begins(const Recipe& recipe);

// Makes the folder and writes recipe.toml.
//   ERRORS  UserError when it already holds a run; as check_begins().
void create_run_folder(const Recipe& recipe, const std::string& folder);
// For a run that goes on in its folder, maybe with other keys: recipe.toml becomes this recipe.
//   stage   the only one whose files need be there; none: all
//   ERRORS  UserError when there is no checkpoint, or the run there is of another model; as
//           check_begins()
void resume_run_folder(const Recipe& recipe, const std::string& folder,
                       std::optional<int> stage = std::nullopt);
// For a stage that may share the folder with others of its run or have one of its own: makes what
// is not there.
//   ERRORS  UserError when it holds a run of another recipe; as check_begins() when it holds none
void ensure_run_folder(const Recipe& recipe, const std::string& folder);

}  // namespace mapl::train
