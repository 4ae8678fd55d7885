#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/log.h"
#include "checkpoint/manifest.h"
#include "cli/commands.h"
#include "report/comparison.h"
#include "train/arm.h"
#include "train/assembly.h"
#include "train/run_folder.h"
#include "train/supervisor.h"

namespace mapl::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  RecipeOptions recipe;
  std::vector<std::string> methods;
  int seeds = 1;
  int jobs = 1;
  std::string out = "runs/compare";
  double fraction = 0.8;
};

struct Task {
  std::string title;
  std::string folder;
  train::Recipe recipe;
  std::vector<std::string> overrides;
};

Task make_task(const Options& options, const train::ArmSpec& arm, int64_t seed) {
  Task task{.title = fmt::format("{}, seed {}", arm.name, seed),
            .folder = fmt::format("{}/{}/seed-{}", options.out, arm.name, seed),
            .recipe = {},
            .overrides = {arm.overrides.front()}};
  // WHY between the method and its keys: what is set for all arms wins over what a method brings.
  task.overrides.insert(task.overrides.end(), options.recipe.overrides.begin(),
                        options.recipe.overrides.end());
  task.overrides.insert(task.overrides.end(), arm.overrides.begin() + 1, arm.overrides.end());
  task.overrides.push_back(fmt::format("training.seed={}", seed));
  task.recipe = train::load_recipe(options.recipe.path, task.overrides);
  return task;
}

// A run that is there already counts when it is of the same recipe and came to its last step.
bool is_done(const Task& task) {
  if (!fs::exists(task.folder)) return false;
  if (!fs::exists(task.folder + "/recipe.toml")) {
    throw UserError(task.folder + " is in the way and is not a run; choose another --out");
  }
  const train::Recipe there = train::load_recipe(task.folder + "/recipe.toml");
  const std::string other = train::hash(there) != train::hash(task.recipe)
                                ? train::diff(there, task.recipe, /*shared_only=*/true)
                                : train::unfair_difference(there, task.recipe);
  if (!other.empty()) {
    throw UserError(
        fmt::format("{} holds a run of another recipe; choose another --out, or remove "
                    "it:\n{}",
                    task.folder, other));
  }
  if (!report::is_finished(task.folder)) return false;
  const int64_t tokens = task.recipe.training.steps * train::tokens_per_step(task.recipe);
  return report::read_run(task.folder).tokens == tokens;
}

// One that did not goes on from its last checkpoint, or begins anew.
train::ChildProcess process_of(const Task& task, const Options& options) {
  train::ChildProcess child{
      .arguments = {own_path(), "train", options.recipe.path, "--run", task.folder},
      .environment = {},
      .name = task.title};
  for (const std::string& text : task.overrides) {
    child.arguments.push_back("--set");
    child.arguments.push_back(text);
  }
  if (options.jobs > 1) child.arguments.push_back("--quiet");
  const std::string checkpoints = train::checkpoint_root(task.recipe, task.folder);
  if (fs::exists(task.folder) && checkpoint::latest_checkpoint(checkpoints)) {
    child.arguments.push_back("--resume");
  } else {
    fs::remove_all(task.folder);
  }
  return child;
}

struct Failed {
  const Task* task;
  std::string end;  // of its process: "exit code 1"
};

// Runs what is not done. WHY on after a failure: one method that diverges must not hide the others.
//   failed   those that came to no end
//   returns  false when the user interrupted
bool run_all(const std::vector<Task>& tasks, const Options& options, std::stop_token stop,
             std::vector<Failed>& failed) {
  std::vector<const Task*> batch;
  const auto run_batch = [&] {
    std::vector<train::ChildProcess> children;
    for (const Task* task : batch) children.push_back(process_of(*task, options));
    if (batch.empty()) return true;
    const auto ends = train::supervise(children, stop, /*grace_seconds=*/1e9).ends;
    if (stop.stop_requested()) return false;
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!is_done(*batch[i])) failed.push_back({batch[i], ends[i]});
    }
    batch.clear();
    return true;
  };
  for (const Task& task : tasks) {
    if (is_done(task)) {
      fmt::print("{}: done before\n", task.title);
      continue;
    }
    fs::create_directories(fs::path(task.folder).parent_path());
    fmt::print("{}\n", task.title);
    std::fflush(stdout);
    batch.push_back(&task);
    if (batch.size() == static_cast<size_t>(options.jobs) && !run_batch()) return false;
  }
  return run_batch();
}

std::vector<train::ArmSpec> arms_of(const Options& options) {
  for (const std::string& text : options.recipe.overrides) {
    if (text.starts_with("boundary.method=")) {
      throw UserError("--set " + text + ": which methods are compared is for --methods to say");
    }
  }
  std::vector<train::ArmSpec> arms;
  std::set<std::string> names;
  for (const std::string& text : options.methods) {
    arms.push_back(train::parse_arm(text));
    // Two runs would be in one folder.
    if (!names.insert(text).second) {
      throw UserError(fmt::format(
          "--methods has \"{}\" twice: give it once, and --seeds for more runs of it", text));
    }
  }
  return arms;
}

int compare(const Options& options, std::stop_token stop) {
  const std::vector<train::ArmSpec> arms = arms_of(options);
  std::vector<Task> tasks;
  const train::Recipe base = train::load_recipe(options.recipe.path, options.recipe.overrides);
  for (const train::ArmSpec& arm : arms) {
    for (int seed = 0; seed < options.seeds; ++seed) {
      tasks.push_back(make_task(options, arm, base.training.seed + seed));
      train::check_begins(tasks.back().recipe);
      const std::string unfair = train::unfair_difference(base, tasks.back().recipe);
      if (!unfair.empty()) {
        throw UserError(
            fmt::format("{} does not train the same model on the same tokens as the "
                        "recipe:\n{}give it with --set, for all arms",
                        arm.name, unfair));
      }
    }
  }
  const auto seeds = static_cast<size_t>(options.seeds);
  std::vector<Failed> failed;
  if (!run_all(tasks, options, stop, failed)) return 130;

  std::vector<report::Arm> results;
  for (size_t a = 0; a < arms.size(); ++a) {
    report::Arm arm{.name = arms[a].name, .runs = {}};
    for (size_t i = a * seeds; i < (a + 1) * seeds; ++i) {
      if (is_done(tasks[i])) arm.runs.push_back(report::read_run(tasks[i].folder));
    }
    if (!arm.runs.empty()) results.push_back(std::move(arm));
  }
  std::string page;
  if (!results.empty()) page = report::comparison_table(results, {.fraction = options.fraction});
  for (const Failed& one : failed) {
    page += fmt::format("\nfailed: {} ({})", one.task->title, one.end);
    const std::string what_happened = one.task->folder + "/post_mortem.md";
    page += fs::exists(what_happened) ? "; what happened: " + what_happened + "\n" : "\n";
  }
  std::ofstream(options.out + "/comparison.md") << page;
  fmt::print("\n{}\nalso in {}/comparison.md\n", page, options.out);
  return failed.empty() ? 0 : 1;
}

}  // namespace

Command add_compare(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("compare", "Train several methods and compare them");
  add_recipe_options(*app, options->recipe);
  app->add_option("--methods", options->methods,
                  "Methods, with keys that they change: uncompressed,mapl,mapl+ngram=2")
      ->delimiter(',')
      ->required();
  app->add_option("--seeds", options->seeds, "Runs of each, from training.seed on")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option("--jobs", options->jobs, "Runs at the same time")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app->add_option("--out", options->out,
                  "Folder of the runs; one that is there goes on from its last checkpoint")
      ->capture_default_str();
  app->add_option("--fraction", options->fraction,
                  "The loss to reach is the baseline's after this fraction of its steps")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  return {app, [options](std::stop_token stop) { return compare(*options, stop); }};
}

}  // namespace mapl::cli
