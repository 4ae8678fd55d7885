// The subcommands of mapl, a file each. Every one adds itself to the parser and returns its action,
// which main runs when that subcommand was typed.
//
//   returns of an action  exit code
//   ERRORS                UserError and RunError, caught once in main
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace mapl::cli {

struct Command {
  CLI::App* app = nullptr;
  std::function<int(std::stop_token)> action;
  bool heeds_stop = true;  // false: a signal ends it as usual
};

Command add_data(CLI::App& parser);
Command add_train(CLI::App& parser);
Command add_stage(CLI::App& parser);
Command add_eval(CLI::App& parser);
Command add_verify(CLI::App& parser);
Command add_keygen(CLI::App& parser);
Command add_compare(CLI::App& parser);
Command add_doctor(CLI::App& parser);
Command add_report(CLI::App& parser);

// The options that most commands share: RECIPE and --set.
struct RecipeOptions {
  std::string path;
  std::vector<std::string> overrides;
};
void add_recipe_options(CLI::App& app, RecipeOptions& options);

// This executable's own path, and that of a neighbour in its folder.
std::string own_path();
std::string sibling_path(const std::string& name);

// Makes OpenBLAS use this many threads: it reads its environment when it is loaded, so this process
// starts itself again when that says otherwise. Warns of a missing BLAS.
void use_blas_threads(int64_t threads);

}  // namespace mapl::cli
