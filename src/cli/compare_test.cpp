#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/run_mapl_for_test.h"
#include "train/same_run_for_test.h"

namespace mapl::cli {
namespace {

std::string compare(const train::SmallRun& small, const std::string& more) {
  return "compare " + small.recipe_file() + " --out " + small.folder() + "/out " + more;
}

TEST(Compare, TrainsEachMethodWithEachSeedAndPrintsOneTable) {
  const train::SmallRun small;
  const std::string words = compare(small, "--methods uncompressed,mapl+anchor=none --seeds 2");
  const Ran ran = run_mapl(words);
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_NE(ran.output.find("vs uncompressed"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("| mapl+anchor=none"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find(" +- "), std::string::npos) << ran.output;
  EXPECT_TRUE(std::filesystem::exists(small.folder() + "/out/comparison.md"));

  // What is there is not run again; what is not, is.
  std::filesystem::remove(small.folder() + "/out/uncompressed/seed-1/summary.json");
  std::filesystem::remove_all(small.folder() + "/out/uncompressed/seed-1/checkpoints");
  const Ran again = run_mapl(words);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_NE(again.output.find("uncompressed, seed 0: done before"), std::string::npos);
  EXPECT_EQ(again.output.find("uncompressed, seed 1: done before"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(small.folder() + "/out/uncompressed/seed-1/summary.json"));

  const Ran other = run_mapl(words + " --set training.steps=5");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.output.find("training.steps: 6 -> 5"), std::string::npos) << other.output;
  // Nor does a stage have to share a key for it to change what a table says.
  for (const char* key : {"link.bandwidth_mbps", "data.train"}) {
    const std::string value = key == std::string("data.train") ? small.folder() + "/*.bin" : "5";
    const Ran local = run_mapl(words + " --set " + key + "='" + value + "'");
    EXPECT_EQ(local.exit_code, 2);
    EXPECT_NE(local.output.find(key), std::string::npos) << local.output;
  }
}

TEST(Compare, GoesOnWithARunThatDidNotEnd) {
  const train::SmallRun small;
  const std::string whole = small.folder() + "/out/uncompressed/seed-0";
  const std::string cut = small.folder() + "/cut";
  const std::string words = compare(small, "--methods uncompressed --set checkpoint.interval=4");
  ASSERT_EQ(run_mapl(words).exit_code, 0);
  std::filesystem::rename(whole, cut);  // what it should come to

  // As a machine leaves it that goes down after step 5.
  std::filesystem::copy(cut, whole, std::filesystem::copy_options::recursive);
  std::filesystem::remove(whole + "/summary.json");
  std::filesystem::remove_all(whole + "/checkpoints/step-6");
  const auto lines = train::json_lines(whole + "/metrics.jsonl");
  std::ofstream metrics(whole + "/metrics.jsonl");
  for (size_t i = 0; i < 5; ++i) metrics << lines.at(i).dump() << "\n";
  metrics.close();

  const Ran again = run_mapl(words);
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(train::difference(whole, cut), "");
  // Times and all: the first steps were not run again.
  EXPECT_EQ(train::json_lines(whole + "/metrics.jsonl").at(3), lines.at(3));
}

// The order of the arms is that of the command: the one that fails comes first.
TEST(Compare, AMethodThatFailsDoesNotHideTheOthers) {
  const train::SmallRun small;
  const Ran ran = run_mapl(
      compare(small, "--methods mapl+optimizer.muon_lr=1e9+optimizer.adamw_lr=1e9,uncompressed"));
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_NE(ran.output.find("| uncompressed"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("\nfailed: mapl+optimizer.muon_lr=1e9"), std::string::npos)
      << ran.output;
  EXPECT_NE(ran.output.find("seed-0/post_mortem.md"), std::string::npos) << ran.output;
}

TEST(Compare, WhatIsSetForAllArmsReachesThemAll) {
  const train::SmallRun small;
  const Ran ran = run_mapl(compare(small,
                                   "--methods uncompressed,mapl+activation=int8 "
                                   "--set boundary.subtract_mean=true "
                                   "--set boundary.activation=f32"));
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  const auto recipe = [&](const std::string& arm) {
    return train::load_recipe(small.folder() + "/out/" + arm + "/seed-0/recipe.toml").boundary;
  };
  EXPECT_TRUE(recipe("uncompressed").subtract_mean);
  EXPECT_EQ(recipe("uncompressed").activation, "f32");
  EXPECT_TRUE(recipe("mapl+activation=int8").subtract_mean);
  EXPECT_EQ(recipe("mapl+activation=int8").activation, "int8");  // its own word is the last
}

TEST(Compare, RefusesWhatCannotBeCompared) {
  const train::SmallRun small;
  for (const char* methods :
       {"uncompressed,mapl+training.steps=9", "mapl,mapl+model.vocab_size=98", "uncompresed",
        "mapl+rank=17", "rank=4", "mapl --set boundary.method=ssn", "mapl,frozen,mapl"}) {
    const Ran ran = run_mapl(compare(small, std::string("--methods ") + methods));
    EXPECT_EQ(ran.exit_code, 2) << methods << ": " << ran.output;
    EXPECT_FALSE(std::filesystem::exists(small.folder() + "/out")) << methods;
  }
}

TEST(Compare, SaysWhatToDoAboutWhatItRefuses) {
  const train::SmallRun small;
  const Ran unfair = run_mapl(compare(small, "--methods mapl+training.steps=9"));
  EXPECT_NE(unfair.output.find("training.steps: 6 -> 9\ngive it with --set, for all arms"),
            std::string::npos)
      << unfair.output;
  const Ran twice = run_mapl(compare(small, "--methods mapl,mapl"));
  EXPECT_NE(twice.output.find("\"mapl\" twice: give it once, and --seeds"), std::string::npos)
      << twice.output;
}

}  // namespace
}  // namespace mapl::cli
