#include "train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/log.h"
#include "checkpoint/manifest.h"
#include "codec/codec.h"
#include "train/compute.h"
#include "train/metrics.h"
#include "train/post_mortem.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/saver.h"

namespace mapl::train {
namespace {

namespace fs = std::filesystem;

// A stage that fails this often without a step in between will not do better another time.
constexpr int kMostFailuresInPlace = 20;

// How long a stage waits for neighbours that broke off while all were leaving, everything saved:
// they may want to hear that they can leave too.
constexpr double kFinishedPatience = 15;

// How long after a refusal a stage that was let in before tries again.
constexpr double kKnockAgainSeconds = 0.5;

// The reports of a step with the bytes that validation's reports could tell of.
std::vector<pipeline::StageReport> with_traffic_of(
    std::vector<pipeline::StageReport> reports, const std::vector<pipeline::StageReport>& later) {
  for (size_t k = 0; k < reports.size(); ++k) reports[k].traffic += later[k].traffic;
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
        saver_({.root = checkpoint_root(recipe, options.folder),
                .stage = stage,
                .num_stages = recipe.pipeline.stages,
                .keep_latest_k = recipe.checkpoint.keep_latest_k,
                .metadata = {{"recipe_hash", fmt::format("{:016x}", hash(recipe))}}}),
        progress_(options.show_progress && stage == 0) {
    forget_failure(options.folder, stage);
    if (stage == 0) metrics_.emplace(recipe, options.folder);
  }

  Status run() try {
    std::string why;  // the session before failed
    for (int failures = 0;; ++failures) {
      const int64_t before = trainer_.finished_steps();
      const Status status = session(why);
      if (status.is_ok()) return status;
      if (is_finished_ && !links_.prev && !links_.next) {
        // All that this stage had to do is done and saved, and nobody has come who needs it.
        if (!why.empty() && !all_have_saved()) {
          return note(
              status.in("a neighbour broke off while it saved the last step, which this stage has; "
                        "start all stages again to finish the run, unless that one has it too"));
        }
        spdlog::warn("{}; the run had come to its end", status.message());
        return Status::ok();
      }
      if (!can_go_on(status)) return note(keep_what_is_there(status));
      if (trainer_.finished_steps() > before) failures = 0;
      if (failures >= kMostFailuresInPlace) {
        return note(status.in(fmt::format("failed {} times without a step in between", failures)));
      }
      why = status.message();
      spdlog::warn("{}; waiting for the other stages to go on", why);
    }
  } catch (const std::exception& error) {
    const Status status(Code::kRefused, fmt::format("stage {}: {}", stage_, words_of(error)));
    trainer_.give_up(note(status));
    if (dynamic_cast<const RunError*>(&error) != nullptr) throw RunError(status);  // a full disk
    throw;
  }

 private:
  bool can_go_on(const Status& status) const {
    const Code code = status.code();
    return options_.open_links && !has_waited_ && code != Code::kRefused && code != Code::kEnded &&
           code != Code::kClosed;
  }
  const Status& note(const Status& status) const {
    note_failure(
        options_.folder,
        {.stage = stage_, .what = status.message(), .finished_steps = trainer_.finished_steps()});
    return status;
  }
  // Nobody will come any more, or the user has asked to end it: what stands whole in memory and is
  // not on disk would be lost.
  //   returns  why, and what the disk had against it
  Status keep_what_is_there(const Status& why) {
    const int64_t finished = trainer_.finished_steps();
    const bool is_sound = why.code() == Code::kClosed || has_waited_;
    if (!options_.open_links || !is_sound || finished == 0 || has_saved(finished)) return why;
    if (!trainer_.drop_undecided()) return why;
    try {
      if (metrics_ && is_unlogged(finished)) {
        if (validates_after(finished, trainer_.last_outcome().stop)) return why;  // who would help?
        log({}, trainer_.last_outcome());
      }
      spdlog::warn("stage {} saves step {} before it leaves", stage_, finished);
      save();
      saver_.wait();
    } catch (const RunError& error) {
      return {Code::kIo, fmt::format("{}; step {} could not be saved: {}", why.message(), finished,
                                     error.what())};
    }
    return why;
  }
  // From new links to the end of the run or to a failure.
  Status session(const std::string& why);
  Status connect(bool is_first);
  Status restore(uint64_t step);
  Status advance(bool& stop);
  Status validate();
  // Stage 0: the step that was trained last and has not been logged.
  void log(std::optional<double> validation_loss, const pipeline::Step::Outcome& outcome);
  bool is_unlogged(int64_t finished) const { return finished == metrics_->totals().steps + 1; }
  bool validates_after(int64_t finished, bool stop) const {
    return is_due(finished, recipe_.validation.interval, stop);
  }
  bool is_due(int64_t finished, int64_t every, bool stop) const {
    return stop || finished == recipe_.training.steps || (every > 0 && finished % every == 0);
  }
  math::NamedTensors state();
  void save();
  bool has_saved(int64_t finished) const {
    const auto steps = saver_.steps();
    return std::find(steps.begin(), steps.end(), static_cast<uint64_t>(finished)) != steps.end();
  }
  // As far as this folder tells: it has the parts of other stages only when they share it.
  bool all_have_saved() const {
    const auto latest = checkpoint::latest_checkpoint(checkpoint_root(recipe_, options_.folder));
    return latest &&
           fs::path(*latest).filename() == fmt::format("step-{}", trainer_.finished_steps());
  }
  // Into the keeper's memory.
  Status mirror();

  const Recipe& recipe_;
  int stage_;
  Assembly& assembly_;
  Trainer& trainer_;
  const RunOptions& options_;
  StageLinks links_;
  bool has_waited_ = false;   // for a neighbour that did not come: not again
  bool is_finished_ = false;  // at the end, and this stage has saved it; others may not
  Saver saver_;
  Progress progress_;
  std::optional<Metrics> metrics_;
  double step_seconds_ = 0;  // of training in the latest try
};

Status Run::connect(bool is_first) {
  if (!options_.open_links) return Status::ok();
  trainer_.disconnect();
  links_ = {};  // the other ends, and endpoints to bind again, are free before new ones are made
  double patience = is_first ? recipe_.link.connect_seconds : recipe_.link.rejoin_seconds;
  if (!is_first && is_finished_ && all_have_saved()) {
    patience = std::min(kFinishedPatience, patience);
  }
  const Deadline deadline = in_seconds(patience);
  // At the start what is thrown is for the user to mend; later, a port that is taken for a moment.
  auto open = [&, begins = is_first](double seconds) mutable -> Result<StageLinks> {
    if (std::exchange(begins, false)) return options_.open_links(seconds);
    try {
      return options_.open_links(seconds);
    } catch (const std::exception& error) {
      return Status(Code::kIo, error.what());
    }
  };
  auto links = open(patience);
  // WHY again: at the start a refusal is a wrong key, for the user to correct. Neighbours who were
  // here before have the right ones: then somebody on the way has altered what came. And one that
  // was there may go while this stage waits for the other.
  const auto may_yet_come = [&](Code code) {
    return code != Code::kClosed && code != Code::kEnded && !(is_first && code == Code::kRefused);
  };
  while (!links.is_ok() && may_yet_come(links.status().code()) &&
         in_seconds(kKnockAgainSeconds) < deadline && !options_.stop.stop_requested()) {
    spdlog::warn("{}; trying again", links.status().message());
    std::this_thread::sleep_for(std::chrono::duration<double>(kKnockAgainSeconds));
    links = open(std::chrono::duration<double>(deadline - Clock::now()).count());
  }
  if (!links.is_ok()) {
    has_waited_ = true;
    return links.status();
  }
  links_ = std::move(links.value());
  trainer_.connect(links_.prev.get(), links_.next.get());
  return Status::ok();
}

Status Run::session(const std::string& why) {
  if (why.empty()) {
    saver_.pass_over_damaged();
    is_finished_ = has_saved(recipe_.training.steps);  // started once more: others may need this
  }
  const Status connected = connect(why.empty());
  if (!connected.is_ok()) return connected;
  saver_.wait();
  Saved saved{.steps = saver_.steps(),
              .restore = [this](uint64_t step) { return restore(step); },
              .validates =
                  [this](uint64_t step) {
                    const auto finished = static_cast<int64_t>(step);
                    return is_unlogged(finished) &&
                           validates_after(finished, trainer_.last_outcome().stop);
                  }};
  // WHY not always: a stage that comes without its checkpoints would take all others back to the
  // start. A save waits for the one before: who has three knows that all stages have had the first.
  if (saved.steps.size() < 3) saved.steps.push_back(0);
  const auto resume = trainer_.greet(saved, options_.stop);
  if (!resume.is_ok()) return resume.status();
  const int64_t from = trainer_.finished_steps();
  saver_.forget_after(from);
  if (metrics_) {
    if (from == 0) metrics_->go_back(0, {});
    metrics_->log_join(from, why);
  }
  if (from > 0) spdlog::info("stage {} goes on from step {}", stage_, from);

  is_finished_ = false;
  bool stop = resume.value().commit.stop;
  if (resume.value().validates) {
    const Status status = validate();
    if (!status.is_ok()) return status;
  } else if (stage_ == 0 && is_unlogged(from)) {
    log({}, trainer_.last_outcome());
  }
  // Due when the step ended, which was cut short here or elsewhere.
  if (from > 0 && is_due(from, recipe_.checkpoint.interval, stop) && !has_saved(from)) save();
  // Who was started again keeps nothing yet.
  if (from > 0) {
    const Status status = mirror();
    if (!status.is_ok()) return status;
  }
  while (trainer_.finished_steps() < recipe_.training.steps && !stop) {
    const Status status = advance(stop);
    if (!status.is_ok()) return status;
  }
  saver_.wait();
  if (!has_saved(trainer_.finished_steps())) save();
  saver_.wait();
  is_finished_ = true;
  const Status parted = trainer_.part();
  if (parted.is_ok()) say_goodbye(links_);
  return parted;
}

Status Run::restore(uint64_t step) {
  const auto finished = static_cast<uint64_t>(trainer_.finished_steps());
  if (step < finished) {
    spdlog::warn("stage {} goes back from step {} to step {}, the last that all stages have",
                 stage_, finished, step);
  }
  math::NamedTensors state;
  const Bytes* mirrored = trainer_.mirrored(step);
  if (step == 0) {
    Assembly fresh(recipe_, stage_);
    const std::string& from = recipe_.training.init_from;
    if (!from.empty()) start_from(load_weights(from), from, stage_, fresh);
    (void)assembly_.load(fresh.state());
    trainer_.start_afresh();
  } else if (mirrored != nullptr) {
    state = checkpoint::parse_safetensors(*mirrored, "a copy in memory");
  } else {
    auto loaded = saver_.load(step);
    if (!loaded.is_ok()) return loaded.status();
    state = std::move(loaded.value());
  }
  if (step > 0) trainer_.load_state(state, static_cast<int64_t>(step));
  if (metrics_) metrics_->go_back(static_cast<int64_t>(step), state);
  return Status::ok();
}

Status Run::advance(bool& stop) {
  const int64_t step = trainer_.finished_steps();
  const int64_t start = now_ns();
  const auto outcome = trainer_.train(step, options_.stop.stop_requested());
  step_seconds_ = 1e-9 * static_cast<double>(now_ns() - start);
  if (!outcome.is_ok()) return outcome.status();
  stop = outcome.value().stop;
  if (validates_after(step + 1, stop)) {
    const Status status = validate();
    if (!status.is_ok()) return status;
  } else if (stage_ == 0) {
    log({}, outcome.value());
  }
  // INVARIANT: what is saved of a step is in the metrics too: going back to it forgets nothing.
  if (is_due(step + 1, recipe_.checkpoint.interval, stop)) save();
  const int64_t every = recipe_.checkpoint.mirror_interval;
  const bool is_last = stop || step + 1 == recipe_.training.steps;
  return every > 0 && (step + 1) % every == 0 && !is_last ? mirror() : Status::ok();
}

Status Run::validate() {
  const auto validated = trainer_.validate(trainer_.finished_steps());
  if (!validated.is_ok()) return validated.status();
  if (stage_ != 0) return Status::ok();
  auto outcome = trainer_.last_outcome();
  outcome.reports = with_traffic_of(outcome.reports, validated.value().reports);
  log(validated.value().loss, outcome);
  return Status::ok();
}

void Run::log(std::optional<double> validation_loss, const pipeline::Step::Outcome& outcome) {
  const Metrics::StepInfo info{.step = trainer_.finished_steps(),
                               .seconds = step_seconds_,
                               .lr_factor = trainer_.lr_factor(trainer_.finished_steps() - 1),
                               .validation_loss = validation_loss};
  metrics_->log(info, outcome);
  progress_.show({.step = info.step,
                  .steps = recipe_.training.steps,
                  .loss = outcome.loss,
                  .tokens_per_second = metrics_->tokens_per_second(),
                  .bytes_per_token = metrics_->bytes_per_token(),
                  .seconds = metrics_->totals().seconds});
  spdlog::info("step {}: loss {:.6f}, gradient norm {:.4f}, {:.3f} s", info.step, outcome.loss,
               std::sqrt(outcome.squared_norm), info.seconds);
  if (outcome.stop || info.step == recipe_.training.steps) {
    metrics_->write_summary(*validation_loss);
  }
}

math::NamedTensors Run::state() {
  math::NamedTensors all = trainer_.state();
  if (metrics_) {
    for (auto& named : metrics_->state()) all.push_back(std::move(named));
  }
  return all;
}

void Run::save() {
  const pipeline::Trace::Scope scope(options_.trace, {"checkpoint"},
                                     static_cast<uint64_t>(trainer_.finished_steps()));
  saver_.save(trainer_.finished_steps(), state());
}

Status Run::mirror() {
  if (recipe_.checkpoint.mirror_interval == 0) return Status::ok();
  const pipeline::Trace::Scope scope(options_.trace, {"mirror"},
                                     static_cast<uint64_t>(trainer_.finished_steps()));
  return trainer_.mirror(checkpoint::to_safetensors(state()));
}

}  // namespace

Status run_stage(const Recipe& recipe, int stage, Assembly& assembly, Trainer& trainer,
                 const RunOptions& options) {
  return Run(recipe, stage, assembly, trainer, options).run();
}

math::NamedTensors load_weights(const std::string& path) {
  if (path.ends_with(".safetensors")) return checkpoint::load_safetensors(path);
  if (fs::path(path).filename().string().starts_with("step-")) {
    return checkpoint::load_checkpoint(path).tensors;
  }
  for (const fs::path& root : {fs::path(path), fs::path(path) / "checkpoints"}) {
    if (auto latest = checkpoint::load_latest_checkpoint(root.string())) {
      return std::move(latest->tensors);
    }
  }
  throw UserError("there is no checkpoint that can be read in " + path +
                  "; give a Run folder, one of its checkpoints/step-<n>, or a .safetensors file");
}

void start_from(const math::NamedTensors& weights, const std::string& from, int stage,
                Assembly& assembly) {
  math::NamedTensors kept;
  std::copy_if(weights.begin(), weights.end(), std::back_inserter(kept),
               [](const auto& named) { return !codec::is_of_run(named.first); });
  for (const std::string& name : assembly.load(kept)) {
    if (codec::is_of_run(name)) continue;
    if (name.starts_with("model.") || name.starts_with("lm_head.")) {
      throw UserError(from + " has no " + name + "; give weights of the recipe's model");
    }
    spdlog::warn("stage {}: {} has no {}; it starts afresh", stage, from, name);
  }
}

}  // namespace mapl::train
