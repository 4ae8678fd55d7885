#include "train/verify.h"

#include <fmt/format.h>

#include "cli/commands.h"

namespace mapl::cli {
namespace {

struct Options {
  RecipeOptions recipe;
  int64_t steps = 10;
};

int verify(const Options& options) {
  const train::Recipe recipe = train::load_recipe(options.recipe.path, options.recipe.overrides);
  use_blas_threads(recipe.training.threads);
  const auto result = train::verify(recipe, options.steps);
  const std::string what =
      fmt::format("{} stages ({}, {}) against {}: {} steps, {} weights and gradients",
                  recipe.pipeline.stages, recipe.pipeline.schedule, recipe.link.kind,
                  result.unsplit ? "the unsplit model" : "one process with the codec in place",
                  result.steps, result.tensors);
  if (result.differences.empty()) {
    fmt::print("equal bit for bit: {}\n", what);
    return 0;
  }
  fmt::print("NOT EQUAL: {}\n", what);
  for (const auto& difference : result.differences) {
    fmt::print("  {}: largest difference {:.3e}, relative {:.3e}\n", difference.what,
               difference.largest, difference.relative);
  }
  return 1;
}

}  // namespace

Command add_verify(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      parser.add_subcommand("verify", "Compare the pipeline with one process, bit for bit");
  add_recipe_options(*app, options->recipe);
  app->add_option("--steps", options->steps, "Training steps to compare")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  return {app, [options](std::stop_token) { return verify(*options); }, /*heeds_stop=*/false};
}

}  // namespace mapl::cli
