#include "train/run_folder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "train/run_all_for_test.h"
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
    ensure_run_folder(small.recipe({"training.steps=7", "link.rejoin_seconds=5"}), folder);
    FAIL() << "another recipe";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("training.steps: 6 -> 7"), std::string::npos)
        << error.what();
    EXPECT_EQ(std::string(error.what()).find("rejoin"), std::string::npos)
        << "may differ: " << error.what();
  }
}

// A Run that is there may have trained no longer than its warm-up, and goes on with more steps.
TEST(RunFolder, IsNotMadeForCodebooksThatComeAfterTheRun) {
  const SmallRun small;
  for (const char* leg : {"boundary.activation=rvq", "boundary.gradient=rvq"}) {
    const auto begin = [&](int steps) {
      create_run_folder(
          small.recipe({leg, "boundary.rvq_group_size=4", fmt::format("training.steps={}", steps)}),
          fmt::format("{}/{}-{}", small.folder(), leg, steps));
    };
    EXPECT_THROW(begin(100), UserError);
    begin(101);
  }
  create_run_folder(small.recipe({"training.steps=100"}), small.folder() + "/without");
}

TEST(RunFolder, WithoutACheckpointIsNotResumed) {
  const SmallRun small;
  EXPECT_THROW(resume_run_folder(small.recipe(), small.folder() + "/run"), UserError);
}

// A new run would go on from them: they are found by their place, not by who wrote them.
TEST(RunFolder, ThatSavesWhereAnotherRunHasSavedIsRefused) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"checkpoint.folder=\"" + small.folder() + "/saved\""});
  ASSERT_TRUE(run_all(recipe, small.folder() + "/first").is_ok());
  EXPECT_THROW(create_run_folder(recipe, small.folder() + "/second"), UserError);
}

TEST(RunFolder, OfAFinishedRunKeepsItsSummary) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_TRUE(run_all(small.recipe(), folder).is_ok());
  resume_run_folder(small.recipe(), folder);
  EXPECT_TRUE(std::filesystem::exists(folder + "/summary.json"));
  resume_run_folder(small.recipe({"training.steps=7"}), folder);
  EXPECT_FALSE(std::filesystem::exists(folder + "/summary.json"));
}

TEST(RunFolder, SaysWhatCanBeDoneAndNotWhatCannot) {
  const SmallRun small;
  const std::string folder = small.folder() + "/run";
  const auto advice = [&] {
    try {
      create_run_folder(small.recipe(), folder);
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  create_run_folder(small.recipe(), folder);
  std::ofstream(folder + "/metrics.jsonl") << "{}\n";
  EXPECT_EQ(advice().find("--resume"), std::string::npos) << advice();
  std::filesystem::remove(folder + "/metrics.jsonl");
  ASSERT_TRUE(run_all(small.recipe(), folder).is_ok());
  EXPECT_NE(advice().find("--resume"), std::string::npos) << advice();
}

}  // namespace
}  // namespace mapl::train
