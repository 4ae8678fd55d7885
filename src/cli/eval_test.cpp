#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Eval, GivesTheLossOfTheRunAndOfItsWeightsElsewhere) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_EQ(run_mapl("train " + small.recipe_file() + " --quiet --run " + folder).exit_code, 0);
  const auto summary = nlohmann::json::parse(std::ifstream(folder + "/summary.json"));
  char expected[64];
  std::snprintf(expected, sizeof(expected), "validation loss %.6f over 32 tokens\n",
                summary["validation_loss"].get<double>());
  EXPECT_EQ(run_mapl("eval " + folder).output, expected);
  EXPECT_EQ(run_mapl("eval " + folder + " --weights " + folder + "/checkpoints/step-6").output,
            expected);
}

TEST(Eval, ARunThatIsNotThereIsTheUsersMistake) {
  EXPECT_EQ(run_mapl("eval /nowhere").exit_code, 2);
}

TEST(Eval, AnAlteredCheckpointIsRefused) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  ASSERT_EQ(run_mapl("train " + small.recipe_file() + " --quiet --run " + folder).exit_code, 0);
  const std::string path = folder + "/checkpoints/step-6/stage-2.safetensors";
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-5, std::ios::end);
  file.put('!');
  file.close();
  const Ran ran = run_mapl("eval " + folder);
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("stage-2.safetensors"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mapl::cli
