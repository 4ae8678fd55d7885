#include "cli/commands.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/log.h"
#include "train/compute.h"

namespace mapl::cli {

void add_recipe_options(CLI::App& app, RecipeOptions& options) {
  app.add_option("recipe", options.path, "Recipe, a TOML file (docs/recipe.md)")->required();
  app.add_option("--set", options.overrides, "Override a key: section.key=value; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
}

std::string own_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

std::string sibling_path(const std::string& name) {
  return (std::filesystem::path(own_path()).parent_path() / name).string();
}

void use_blas_threads(int64_t threads) {
  const std::string wanted = std::to_string(threads);
  const char* set = std::getenv("OPENBLAS_NUM_THREADS");
  if (set == nullptr || wanted != set) {
    setenv("OPENBLAS_NUM_THREADS", wanted.c_str(), 1);
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    std::string cmdline{std::istreambuf_iterator<char>(file), {}};
    std::vector<char*> arguments;
    for (size_t at = 0; at < cmdline.size(); at += std::strlen(&cmdline[at]) + 1) {
      arguments.push_back(&cmdline[at]);
    }
    arguments.push_back(nullptr);
    execv("/proc/self/exe", arguments.data());
    spdlog::warn("cannot set OPENBLAS_NUM_THREADS={}; set it yourself", wanted);
  }
  const std::string problem = train::blas_problem();
  if (!problem.empty()) spdlog::warn("{}", problem);
}

}  // namespace mapl::cli
