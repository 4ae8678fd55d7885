#include "train/run.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "base/log.h"
#include "checkpoint/file.h"
#include "checkpoint/manifest.h"
#include "train/metrics.h"
#include "train/progress.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

// The reports of a step, with the bytes as counted at a later moment.
std::vector<pipeline::StageReport> with_traffic_of(
    std::vector<pipeline::StageReport> reports, const std::vector<pipeline::StageReport>& later) {
  for (size_t k = 0; k < reports.size(); ++k) reports[k].traffic = later[k].traffic;
  return reports;
}

// One stage's way through a run; a class so that each step of it fits a screen.
class Run {
 public:
  Run(const Recipe& recipe, int stage, Assembly& assembly, Trainer& trainer,
      const RunOptions& options)
      : recipe_(recipe),
        stage_(stage),
        assembly_(assembly),
        trainer_(trainer),
        options_(options),
        progress_(options.show_progress && stage == 0) {
    if (stage == 0) metrics_.emplace(recipe, options.folder);
  }

  Status run() {
    const Status greeted = trainer_.greet();
    if (!greeted.is_ok()) return greeted;
    bool stop = false;
    for (int64_t step = 0; step < recipe_.training.steps && !stop; ++step) {
      const Status status = advance(step, stop);
      if (!status.is_ok()) return status;
    }
    return Status::ok();
  }

 private:
  Status advance(int64_t step, bool& stop);
  void log(const Metrics::StepInfo& info, const pipeline::Step::Outcome& outcome);
  void save(int64_t step);

  const Recipe& recipe_;
  int stage_;
  Assembly& assembly_;
  Trainer& trainer_;
  const RunOptions& options_;
  Progress progress_;
  std::optional<Metrics> metrics_;
};

Status Run::advance(int64_t step, bool& stop) {
  const int64_t start = now_ns();
  auto outcome = trainer_.train(step, options_.stop.stop_requested());
  if (!outcome.is_ok()) return outcome.status();
  Metrics::StepInfo info{.step = step + 1,
                         .seconds = 1e-9 * static_cast<double>(now_ns() - start),
                         .lr_factor = trainer_.lr_factor(step)};
  stop = outcome.value().stop;
  const bool last = stop || info.step == recipe_.training.steps;
  const auto due = [&](int64_t every) { return last || (every > 0 && info.step % every == 0); };
  if (due(recipe_.checkpoint.interval)) save(info.step);
  if (due(recipe_.validation.interval)) {
    auto validated = trainer_.validate(info.step);
    if (!validated.is_ok()) return validated.status();
    info.validation_loss = validated.value().loss;
    // Its reports know the bases of this step, which its own vote could not.
    outcome.value().reports = with_traffic_of(outcome.value().reports, validated.value().reports);
  }
  if (stage_ == 0) log(info, outcome.value());
  if (stage_ == 0 && last) metrics_->write_summary(*info.validation_loss);
  return Status::ok();
}

void Run::log(const Metrics::StepInfo& info, const pipeline::Step::Outcome& outcome) {
  metrics_->log(info, outcome);
  progress_.show({.step = info.step,
                  .steps = recipe_.training.steps,
                  .loss = outcome.loss,
                  .tokens_per_second = metrics_->tokens_per_second(),
                  .bytes_per_token = metrics_->bytes_per_token(),
                  .seconds = metrics_->totals().seconds});
  spdlog::info("step {}: loss {:.6f}, gradient norm {:.4f}, {:.3f} s", info.step, outcome.loss,
               std::sqrt(outcome.squared_norm), info.seconds);
}

void Run::save(int64_t step) {
  const std::string root = checkpoint_root(recipe_, options_.folder);
  checkpoint::save_stage(root, step, stage_, recipe_.pipeline.stages, assembly_.state(),
                         {{"recipe_hash", fmt::format("{:016x}", hash(recipe_))}});
  if (recipe_.checkpoint.keep_latest_k > 0) {
    checkpoint::prune(root, stage_, recipe_.checkpoint.keep_latest_k);
  }
}

}  // namespace

Status run_stage(const Recipe& recipe, int stage, Assembly& assembly, Trainer& trainer,
                 const RunOptions& options) {
  return Run(recipe, stage, assembly, trainer, options).run();
}

std::string checkpoint_root(const Recipe& recipe, const std::string& run_folder) {
  return (fs::path(run_folder) / recipe.checkpoint.folder).string();
}

void create_run_folder(const Recipe& recipe, const std::string& folder) {
  if (fs::exists(fs::path(folder) / "metrics.jsonl")) {
    throw UserError(folder + " already holds a run; choose another --run folder or remove it");
  }
  ensure_run_folder(recipe, folder);
}

void ensure_run_folder(const Recipe& recipe, const std::string& folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder) / "logs", error);
  if (error) {
    throw UserError("cannot make the run folder " + folder + ": " + error.message() +
                    "; choose another with --run");
  }
  if (fs::exists(fs::path(folder) / "recipe.toml")) return;
  const std::string text = print(recipe);
  // Stages that share the folder may all be here at once, each with this recipe.
  checkpoint::AtomicFile file(folder + "/recipe.toml", /*is_contended=*/true);
  file.write({reinterpret_cast<const std::byte*>(text.data()), text.size()});
  file.commit();
}

math::NamedTensors load_weights(const std::string& path) {
  if (path.ends_with(".safetensors")) return checkpoint::load_safetensors(path);
  if (fs::path(path).filename().string().starts_with("step-")) {
    return checkpoint::load_checkpoint(path).tensors;
  }
  for (const fs::path& root : {fs::path(path), fs::path(path) / "checkpoints"}) {
    if (const auto latest = checkpoint::latest_checkpoint(root.string())) {
      return checkpoint::load_checkpoint(*latest).tensors;
    }
  }
  throw UserError("there is no checkpoint in " + path +
                  "; give a Run folder, one of its checkpoints/step-<n>, or a .safetensors file");
}

void start_from(const math::NamedTensors& weights, const std::string& from, int stage,
                Assembly& assembly) {
  for (const std::string& name : assembly.load(weights)) {
    if (name.starts_with("model.") || name.starts_with("lm_head.")) {
      throw UserError(from + " has no " + name + "; give weights of the recipe's model");
    }
    spdlog::warn("stage {}: {} has no {}; it starts afresh", stage, from, name);
  }
}

}  // namespace mapl::train
