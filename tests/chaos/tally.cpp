#include "chaos/tally.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "chaos/runs.h"
#include "train/same_run_for_test.h"

namespace mapl::chaos {

std::vector<std::string> with_sets(std::vector<std::string> arguments,
                                   const std::vector<std::string>& sets) {
  for (const std::string& set : sets) {
    arguments.push_back("--set");
    arguments.push_back(set);
  }
  return arguments;
}

std::vector<std::string> small_sets(int steps) {
  return {"link.kind=zmq",
          fmt::format("training.steps={}", steps),
          "training.max_norm=0.5",
          "checkpoint.interval=4",
          "checkpoint.keep_latest_k=2",
          "validation.interval=6",
          "boundary.subtract_mean=true",
          "boundary.activation=rvq",
          "boundary.rvq_group_size=2",
          "boundary.rvq_entries=8",
          "boundary.rvq_warmup_steps=5"};
}

std::vector<std::string> train_arguments(const train::SmallRun& place, const std::string& folder,
                                         int steps) {
  return with_sets({mapl_path(), "train", place.recipe_file(), "--quiet", "--run", folder},
                   small_sets(steps));
}

void count(Tally& tally, int exit_code, const std::string& folder, const std::string& expected,
           const std::string& what, bool broken) {
  ++tally.runs;
  tally.broken += broken;
  std::string problem;
  if (exit_code == -1) {
    ++tally.hung;
    problem = "hangs";
  } else if (exit_code != 0) {
    ++tally.failed;
    problem = fmt::format("exit code {}", exit_code);
  } else {
    problem = train::difference(folder, expected);
    tally.different += !problem.empty();
  }
  if (!problem.empty()) tell(tally, folder, what, problem);
}

void tell(const Tally& tally, const std::string& folder, const std::string& what,
          const std::string& problem) {
  const std::string kept = fmt::format(
      "{}/mapl-chaos-{}-{}", std::filesystem::temp_directory_path().string(), getpid(), tally.runs);
  std::error_code not_kept;  // a run that failed at once has left nothing
  std::filesystem::copy(
      folder, kept,
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing,
      not_kept);
  // What the supervisor has said stands beside the folder.
  std::error_code nothing_said;
  std::filesystem::copy_file(std::filesystem::path(folder).replace_filename("output"),
                             kept + "/output", nothing_said);
  fmt::print("  {}: {} ({})\n", what, problem,
             not_kept ? "kept nothing: " + not_kept.message() : "kept in " + kept);
  std::fflush(stdout);
}

}  // namespace mapl::chaos
