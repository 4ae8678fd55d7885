#include "train/run_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>

#include "checkpoint/file.h"
#include "checkpoint/manifest.h"
#include "pipeline/trace.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

// Of "key: a -> b" lines those of keys that a run keeps when it is resumed: what its weights and
// its place in the data mean.
std::string kept_by_a_run(const std::string& differences) {
  std::string kept;
  std::istringstream lines(differences);
  for (std::string line; std::getline(lines, line);) {
    for (const char* key : {"model.", "data.", "training.seed", "training.sequence_length"}) {
      if (line.starts_with(key)) kept += (kept.empty() ? "" : "\n") + line;
    }
  }
  return kept;
}

void write_recipe(const Recipe& recipe, const std::string& folder) {
  const std::string text = print(recipe);
  // Stages that share the folder may all be here at once, each with this recipe.
  checkpoint::AtomicFile file(folder + "/recipe.toml", /*is_contended=*/true);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

void make_run_folder(const Recipe& recipe, const std::string& folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder) / "logs", error);
  if (error) {
    throw UserError("cannot make the run folder " + folder + ": " + error.message() +
                    "; choose another with --run");
  }
  write_recipe(recipe, folder);
}

}  // namespace

std::string trace_path(const std::string& folder, int64_t stage) {
  return fmt::format("{}/logs/stage-{}.trace.json", folder, stage);
}

void merge_run_traces(const std::string& folder, int64_t num_stages) {
  std::vector<std::string> paths;
  for (int64_t k = 0; k < num_stages; ++k) paths.push_back(trace_path(folder, k));
  pipeline::merge_traces(paths, folder + "/trace.json");
}

std::string checkpoint_root(const Recipe& recipe, const std::string& run_folder) {
  return (fs::path(run_folder) / recipe.checkpoint.folder).string();
}

void create_run_folder(const Recipe& recipe, const std::string& folder) {
  if (fs::exists(fs::path(folder) / "metrics.jsonl")) {
    throw UserError(folder +
                    " already holds a run; go on with it by --resume, choose another --run folder "
                    "or remove it");
  }
  make_run_folder(recipe, folder);
}

void resume_run_folder(const Recipe& recipe, const std::string& folder) {
  if (!checkpoint::latest_checkpoint(checkpoint_root(recipe, folder))) {
    throw UserError("there is no checkpoint to resume from in " + checkpoint_root(recipe, folder) +
                    "; start the run without --resume");
  }
  const std::string there = folder + "/recipe.toml";
  if (fs::exists(there)) {
    const std::string other = kept_by_a_run(diff(load_recipe(there), recipe));
    if (!other.empty()) {
      throw UserError(folder + " holds a run of another model or of other data:\n" + other);
    }
  }
  std::error_code ignored;
  fs::remove(folder + "/summary.json", ignored);
  write_recipe(recipe, folder);
}

void ensure_run_folder(const Recipe& recipe, const std::string& folder) {
  const std::string there = folder + "/recipe.toml";
  if (!fs::exists(there)) return make_run_folder(recipe, folder);
  const Recipe other = load_recipe(there);
  if (hash(other) == hash(recipe)) return;
  throw UserError(
      fmt::format("{} holds a run of another recipe; choose another --run folder, or "
                  "make the recipes equal:\n{}",
                  folder, diff(other, recipe)));
}

}  // namespace mapl::train
