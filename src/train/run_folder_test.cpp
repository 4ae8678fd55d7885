#include "train/run_folder.h"

#include <gtest/gtest.h>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(RunFolder, ThatHoldsARunIsNotOverwritten) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  create_run_folder(small.recipe(), folder);
  create_run_folder(small.recipe(), folder);  // nothing has been trained in it
  std::ofstream(folder + "/metrics.jsonl") << "{}\n";
  EXPECT_THROW(create_run_folder(small.recipe(), folder), UserError);
}

TEST(RunFolder, IsSharedByStagesOfOneRecipeOnly) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  ensure_run_folder(small.recipe(), folder);
  ensure_run_folder(small.recipe(), folder);
  EXPECT_EQ(diff(load_recipe(folder + "/recipe.toml"), small.recipe()), "");
  try {
    ensure_run_folder(small.recipe({"training.steps=7"}), folder);
    FAIL() << "another recipe";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("training.steps: 6 -> 7"), std::string::npos)
        << error.what();
  }
}

TEST(RunFolder, WithoutACheckpointIsNotResumed) {
  const SmallRun small;
  EXPECT_THROW(resume_run_folder(small.recipe(), small.folder() + "/run"), UserError);
}

}  // namespace
}  // namespace mapl::train
