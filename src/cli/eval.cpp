#include <fmt/format.h>

#include "cli/commands.h"
#include "train/evaluate.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace mapl::cli {
namespace {

struct Options {
  std::string run;
  std::string weights;
  std::vector<std::string> overrides;
};

int evaluate(const Options& options) {
  const train::Recipe recipe = train::load_recipe(options.run + "/recipe.toml", options.overrides);
  use_blas_threads(recipe.training.threads);
  const std::string from =
      options.weights.empty() ? train::checkpoint_root(recipe, options.run) : options.weights;
  const auto result = train::evaluate(recipe, train::load_weights(from), from);
  fmt::print("validation loss {:.6f} over {} tokens\n", result.loss, result.tokens);
  return 0;
}

}  // namespace

Command add_eval(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("eval", "Validation loss of a run's latest weights");
  app->add_option("run", options->run, "Run folder")->required();
  app->add_option("--weights", options->weights,
                  "Other weights: a Run, a checkpoint or a .safetensors file");
  app->add_option("--set", options->overrides, "Override a key of the run's recipe")
      ->take_all()
      ->allow_extra_args(false);
  return {app, [options](std::stop_token) { return evaluate(*options); }, /*heeds_stop=*/false};
}

}  // namespace mapl::cli
