#include <fmt/format.h>

#include "base/log.h"
#include "cli/commands.h"
#include "train/batches.h"
#include "train/compute.h"
#include "train/links.h"
#include "train/metrics.h"
#include "train/post_mortem.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/stage_group.h"
#include "train/supervisor.h"

namespace mapl::cli {
namespace {

struct Options {
  RecipeOptions recipe;
  std::string run = "runs/latest";
  std::string init_from;
  bool resume = false;
  bool trace = false;
  std::vector<std::string> break_at;
  bool quiet = false;
};

// What can be wrong is found here, once, and not by every stage.
void check_inputs(const train::Recipe& recipe) {
  train::check_device(recipe.training.device);
  (void)train::open_training_data(recipe);
  (void)train::open_validation_data(recipe);
}

void run_in_threads(const train::Recipe& recipe, const Options& options, std::stop_token stop) {
  use_blas_threads(recipe.training.threads);
  log_to_file(options.run + "/logs/stages.jsonl");
  if (options.trace) {
    throw UserError(fmt::format(
        "--trace needs a process for each stage: link.kind = \"zmq\" and pipeline.stages "
        "of 2 or more; they are \"{}\" and {}",
        recipe.link.kind, recipe.pipeline.stages));
  }
  train::StageGroup group(recipe);
  const train::RunOptions run{.folder = options.run, .show_progress = !options.quiet, .stop = stop};
  try {
    const Status status =
        group.run([&](int stage, train::Assembly& assembly, train::Trainer& trainer) {
          return train::run_stage(recipe, stage, assembly, trainer, run);
        });
    if (!status.is_ok()) throw RunError(status);
  } catch (...) {
    const std::vector<std::string> ends(static_cast<size_t>(recipe.pipeline.stages),
                                        "with the others");
    (void)train::write_post_mortem(options.run, ends);
    throw;
  }
}

int run_in_processes(const train::Recipe& recipe, const Options& options, std::stop_token stop) {
  const train::LocalEndpoints endpoints(recipe.pipeline.stages);
  std::string stages;
  for (const auto& peer : endpoints.peers()) {
    stages += fmt::format("{}{{endpoint = \"{}\"}}", stages.empty() ? "" : ", ", peer.endpoint);
  }
  std::vector<train::ChildProcess> children;
  for (int64_t k = 0; k < recipe.pipeline.stages; ++k) {
    std::vector<std::string> arguments = {
        own_path(),  "stage", options.run + "/recipe.toml",  "--stage", std::to_string(k), "--run",
        options.run, "--set", "link.stages=[" + stages + "]"};
    if (options.quiet) arguments.push_back("--quiet");
    if (options.trace) arguments.push_back("--trace");
    children.push_back(
        {.arguments = std::move(arguments),
         .environment = {{"OPENBLAS_NUM_THREADS", std::to_string(recipe.training.threads)}},
         .name = fmt::format("stage {}", k),
         .restart = true});
  }
  for (const std::string& text : options.break_at) {
    const auto stage = static_cast<size_t>(std::atoi(text.c_str()));
    children.at(stage).first_arguments = {"--break-at", text.substr(text.find(':') + 1)};
  }
  for (size_t k = 0; k < children.size(); ++k) {
    train::forget_failure(options.run, static_cast<int>(k));
  }
  const train::Supervised ended = train::supervise(children, stop);
  if (options.trace) train::merge_run_traces(options.run, recipe.pipeline.stages);
  if (ended.exit_code == 0) return 0;
  // Each stage has said on its own what went wrong. What never began has no story to tell.
  if (ended.exit_code == 2 && !train::has_failure(options.run, children.size())) return 2;
  const std::string page = train::write_post_mortem(options.run, ended.ends);
  if (!page.empty()) fmt::print(stderr, "mapl: what happened, stage by stage: {}\n", page);
  return ended.exit_code == 2 || ended.exit_code == 3 ? ended.exit_code : 1;
}

int train(const Options& options, std::stop_token stop) {
  std::vector<std::string> overrides = options.recipe.overrides;
  if (!options.init_from.empty()) {
    overrides.push_back("training.init_from=\"" + options.init_from + "\"");
  }
  const train::Recipe recipe = train::load_recipe(options.recipe.path, overrides);
  if (recipe.link.kind == "c10d") {
    throw UserError(
        "link.kind = \"c10d\" is for stages that a launcher starts, such as torchrun --no_python "
        "mapl stage RECIPE; to train on this machine with mapl train use \"zmq\"");
  }
  if (!recipe.link.stages.empty()) {
    throw UserError(
        "the recipe has link.stages: it is for a run across machines; start each of "
        "them there with mapl stage, or remove link.stages to train on this machine");
  }
  check_inputs(recipe);
  if (options.resume) {
    train::resume_run_folder(recipe, options.run);
  } else {
    train::create_run_folder(recipe, options.run);
  }
  if (recipe.link.kind == "zmq" && recipe.pipeline.stages > 1) {
    return run_in_processes(recipe, options, stop);
  }
  run_in_threads(recipe, options, stop);
  return 0;
}

}  // namespace

Command add_train(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("train", "Train all stages of a recipe on this machine");
  add_recipe_options(*app, options->recipe);
  app->add_option("--run", options->run, "Folder of this run, new")->capture_default_str();
  app->add_option("--init-from", options->init_from,
                  "Start from the weights of a Run, a checkpoint or a .safetensors file");
  app->add_flag("--resume", options->resume,
                "Go on with the run in its folder, from its latest checkpoint");
  app->add_flag("--trace", options->trace,
                "Write trace.json: what each stage did, and when, for chrome://tracing");
  app->add_option("--break-at", options->break_at, "For tests of recovery: stage:what:step")
      ->group("");
  app->add_flag("--quiet", options->quiet, "No progress on the terminal");
  return {app, [options](std::stop_token stop) { return train(*options, stop); }};
}

}  // namespace mapl::cli
