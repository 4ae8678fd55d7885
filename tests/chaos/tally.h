// What `chaos kill` and `chaos cut` train, and what came of it.
#pragma once

#include <string>
#include <vector>

#include "train/small_run_for_test.h"

namespace mapl::chaos {

constexpr int kStages = 4;
constexpr double kPatience = 120;  // seconds: a run that takes longer hangs

std::vector<std::string> with_sets(std::vector<std::string> arguments,
                                   const std::vector<std::string>& sets);

// Codebooks, feedback, clipping and validation included.
std::vector<std::string> small_sets(int steps);

// mapl train, in the folder of `place`.
std::vector<std::string> train_arguments(const train::SmallRun& place, const std::string& folder,
                                         int steps);

struct Tally {
  int runs = 0;
  int broken = 0;  // of those, runs that something happened to
  int different = 0;
  int hung = 0;
  int failed = 0;
  bool is_good() const { return different + hung + failed == 0; }
};

// One more run, which ended with `exit_code` (-1: it did not). Tells what is wrong, if anything.
void count(Tally& tally, int exit_code, const std::string& folder, const std::string& expected,
           const std::string& what, bool broken);

// Prints what is wrong with the latest run, and keeps its folder.
void tell(const Tally& tally, const std::string& folder, const std::string& what,
          const std::string& problem);

}  // namespace mapl::chaos
