#include <fmt/format.h>

#include <optional>

#include "base/log.h"
#include "cli/commands.h"
#include "link/curve_keys.h"
#include "link/zmq.h"
#include "train/compute.h"
#include "train/links.h"
#include "train/run.h"

namespace mapl::cli {
namespace {

struct Options {
  RecipeOptions recipe;
  int stage = 0;
  std::string run = "runs/latest";
  std::string key;
  bool quiet = false;
};

int run_stage(const Options& options, std::stop_token stop) {
  const train::Recipe recipe = train::load_recipe(options.recipe.path, options.recipe.overrides);
  if (options.stage < 0 || options.stage >= recipe.pipeline.stages) {
    throw UserError(fmt::format("--stage is {}; pipeline.stages is {}, so it must be 0 to {}",
                                options.stage, recipe.pipeline.stages, recipe.pipeline.stages - 1));
  }
  if (recipe.link.stages.empty() && recipe.pipeline.stages > 1) {
    throw UserError(
        "the recipe has no link.stages: mapl stage needs the endpoint of every stage; "
        "to train on this machine alone use mapl train");
  }
  use_blas_threads(recipe.training.threads);
  train::set_compute_threads(recipe.training.threads);
  std::optional<link::CurveIdentity> identity;
  if (!options.key.empty()) identity = link::read_secret_key(options.key);
  train::ensure_run_folder(recipe, options.run);
  log_to_file(fmt::format("{}/logs/stage-{}.log", options.run, options.stage));

  train::Assembly assembly(recipe, options.stage);
  const std::string& from = recipe.training.init_from;
  if (!from.empty()) train::start_from(train::load_weights(from), from, options.stage, assembly);
  link::ZmqContext context;
  auto links = train::open_links(recipe, options.stage, assembly, context, identity);
  if (!links.is_ok()) throw RunError(links.status());
  train::Trainer trainer(recipe, options.stage, assembly, links.value().prev.get(),
                         links.value().next.get());
  const Status status =
      train::run_stage(recipe, options.stage, assembly, trainer,
                       {.folder = options.run, .show_progress = !options.quiet, .stop = stop});
  if (!status.is_ok()) throw RunError(status);
  train::say_goodbye(links.value());
  return 0;
}

}  // namespace

Command add_stage(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("stage", "Run one stage of a run across machines");
  add_recipe_options(*app, options->recipe);
  app->add_option("--stage", options->stage, "Which stage, from 0")->required();
  app->add_option("--run", options->run, "Folder of this run")->capture_default_str();
  app->add_option("--key", options->key, "This stage's secret key file (mapl keygen)");
  app->add_flag("--quiet", options->quiet, "No progress on the terminal");
  return {app, [options](std::stop_token stop) { return run_stage(*options, stop); }};
}

}  // namespace mapl::cli
