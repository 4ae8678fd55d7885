// A checkpoint: <root>/step-<n>/ with stage-<k>.safetensors and its manifest stage-<k>.json for
// each stage (docs/checkpoint_format.md). Every stage writes its own two files without asking the
// others; the checkpoint is complete when the manifests of all stages are there and agree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace mapl::checkpoint {

// Writes stage `stage` of `num_stages`. `metadata` says of what run this is (recipe hash, position
// in the data): the stages of a checkpoint must say the same.
//   ERRORS  RunError (kIo): the disk refuses. No half-written file stays, and earlier steps are
//   untouched.
void save_stage(const std::string& root, int64_t step, int64_t stage, int64_t num_stages,
                const NamedTensors& tensors, const Metadata& metadata = {});

struct Checkpoint {
  int64_t step = 0;
  int64_t num_stages = 0;
  Metadata metadata;
  NamedTensors tensors;  // of all stages, in their order, by global name
};

// Reads <root>/step-<n>, given as `folder`, and verifies every byte of it.
//   ERRORS  UserError that names the file and what to do: a stage is missing, a hash or size
//   differs,
//           stages disagree, two stages hold the same tensor.
Checkpoint load_checkpoint(const std::string& folder);

// Folder of the newest complete checkpoint below `root` (hashes are left to load_checkpoint()).
std::optional<std::string> latest_checkpoint(const std::string& root);

// The newest complete checkpoint below `root` of which every byte is as it was written; warns of
// those that are not.
std::optional<Checkpoint> load_latest_checkpoint(const std::string& root);

// Steps from which stage `stage` of `num_stages` can go on, ascending: its own part of a checkpoint
// of as many stages is there, or a complete one of another number of stages. Sizes are looked at,
// hashes are left to load_for_stage().
std::vector<int64_t> resumable_steps(const std::string& root, int64_t stage, int64_t num_stages);

// What that stage needs of such a step, and maybe more: its own part, or all of another cut.
//   ERRORS  those of load_checkpoint()
NamedTensors load_for_stage(const std::string& root, int64_t step, int64_t stage,
                            int64_t num_stages);

// For a run that has gone back to `step`: renames this stage's manifests of later steps, so that no
// checkpoint is made of parts of two histories. Renaming them back brings them back.
//   ERRORS  UserError when one cannot be renamed
void set_aside_after(const std::string& root, int64_t stage, int64_t step);

// Removes this stage's files of all but its newest `keep` steps before `before`, and the folders
// that are then empty. A stage may have written two while another still writes the first of them,
// so with keep >= 2 older ones than the next a complete one remains.
//   REQUIRES  keep >= 2.
void prune(const std::string& root, int64_t stage, int64_t before, int64_t keep);

}  // namespace mapl::checkpoint
