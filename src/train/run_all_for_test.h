// All stages of a run, threads of this process.
#pragma once

#include <string>

#include "train/run.h"
#include "train/run_folder.h"
#include "train/stage_group.h"

namespace mapl::train {

// In a folder that is there.
inline Status run_there(const Recipe& recipe, const std::string& folder,
                        std::stop_token stop = {}) {
  StageGroup group(recipe);
  return group.run([&](int stage, Assembly& assembly, Trainer& trainer) {
    return run_stage(recipe, stage, assembly, trainer, {.folder = folder, .stop = stop});
  });
}

inline Status run_all(const Recipe& recipe, const std::string& folder, std::stop_token stop = {}) {
  create_run_folder(recipe, folder);
  return run_there(recipe, folder, stop);
}

}  // namespace mapl::train
