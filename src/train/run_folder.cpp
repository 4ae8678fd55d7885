#include "train/run_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>

#include "base/log.h"
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
    for (const char* key : {"model.", "training.seed", "training.sequence_length"}) {
      if (line.starts_with(key)) kept += (kept.empty() ? "" : "\n") + line;
    }
  }
  return kept;
}

std::optional<int64_t> latest_step(const Recipe& recipe, const std::string& folder,
                                   std::optional<int> stage) {
  const std::string root = checkpoint_root(recipe, folder);
  if (stage) {
    const auto steps = checkpoint::resumable_steps(root, *stage, recipe.pipeline.stages);
    return steps.empty() ? std::nullopt : std::optional(steps.back());
  }
  const auto latest = checkpoint::latest_checkpoint(root);
  if (!latest) return std::nullopt;
  constexpr std::string_view kPrefix = "step-";
  return std::stoll(fs::path(*latest).filename().string().substr(kPrefix.size()));
}

void write_recipe(const Recipe& recipe, const std::string& folder) {
  const std::string text = print(recipe);
  // Stages that share the folder may all be here at once, each with this recipe.
  checkpoint::AtomicFile file(folder + "/recipe.toml", /*is_contended=*/true);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

void make_run_folder(const Recipe& recipe, const std::string& folder) {
  check_begins(recipe);
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

void check_begins(const Recipe& recipe) {
  const int64_t warmup = recipe.boundary.rvq_warmup_steps, steps = recipe.training.steps;
  if (!codec::has_codebooks(recipe.boundary) || warmup < steps) return;
  throw UserError(fmt::format(
      "boundary.rvq_warmup_steps = {} is not over within training.steps = {}, and no code would "
      "ever cross: make it smaller, or train longer",
      warmup, steps));
}

void create_run_folder(const Recipe& recipe, const std::string& folder) {
  const std::string checkpoints = checkpoint_root(recipe, folder);
  const bool goes_on = checkpoint::latest_checkpoint(checkpoints).has_value();
  if (fs::exists(fs::path(folder) / "metrics.jsonl")) {
    throw UserError(fmt::format(
        "{} already holds a run; {}choose another --run folder or remove it", folder,
        goes_on ? "go on with it by --resume, "
                : "it has no checkpoint to go on from (checkpoint.interval says how often one is "
                  "saved); "));
  }
  if (goes_on) {
    throw UserError(checkpoints +
                    " holds checkpoints of another run, which this one would go on from; choose "
                    "another checkpoint.folder, or give that run's --run folder and --resume");
  }
  make_run_folder(recipe, folder);
}

void resume_run_folder(const Recipe& recipe, const std::string& folder, std::optional<int> stage) {
  const auto latest = latest_step(recipe, folder, stage);
  if (!latest) {
    throw UserError(
        fmt::format("there is no checkpoint to resume from in {} (checkpoint.interval "
                    "says how often one is saved); remove {} and start the run without "
                    "--resume",
                    checkpoint_root(recipe, folder), folder));
  }
  const std::string there = folder + "/recipe.toml";
  if (fs::exists(there)) {
    const Recipe before = load_recipe(there);
    const std::string other = kept_by_a_run(diff(before, recipe));
    if (!other.empty()) {
      throw UserError(folder +
                      " holds a run of another model, seed or length of sequence; give what it "
                      "has, or start a new run from its weights with --init-from:\n" +
                      other);
    }
    if (before.data.train != recipe.data.train) {
      spdlog::warn(
          "the tokens were {} before and are {} now; if they are not the same, the run "
          "goes on at the same place in other text",
          before.data.train, recipe.data.train);
    }
  }
  check_begins(recipe);
  // A run that has come to its end has nothing left to write another from.
  if (*latest != recipe.training.steps) {
    std::error_code ignored;
    fs::remove(folder + "/summary.json", ignored);
  }
  write_recipe(recipe, folder);
}

void ensure_run_folder(const Recipe& recipe, const std::string& folder) {
  const std::string there = folder + "/recipe.toml";
  if (!fs::exists(there)) return make_run_folder(recipe, folder);
  const Recipe other = load_recipe(there);
  if (hash(other) == hash(recipe)) return;
  throw UserError(
      fmt::format("{} holds a run of another recipe; choose another --run folder, make the recipes "
                  "equal, or go on with this one by --resume:\n{}",
                  folder, diff(other, recipe, /*shared_only=*/true)));
}

}  // namespace mapl::train
