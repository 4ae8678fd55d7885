#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Commands, TheProgramSaysItsVersionAndItsCommands) {
  EXPECT_EQ(run_mapl("--version").output.find("mapl "), 0u);
  const std::string help = run_mapl("--help").output;
  for (const char* command :
       {"data", "train", "stage", "eval", "verify", "compare", "report", "keygen"}) {
    EXPECT_NE(help.find(command), std::string::npos) << command;
  }
}

TEST(Commands, OneThatIsNotThereIsNamed) {
  const Ran ran = run_mapl("trian recipe.toml");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("no command 'trian'"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find(" train"), std::string::npos) << ran.output;
}

TEST(Commands, WrongUseIsExitCode2) {
  EXPECT_EQ(run_mapl("").exit_code, 2);
  EXPECT_EQ(run_mapl("dance").exit_code, 2);
  EXPECT_EQ(run_mapl("train").exit_code, 2);
  EXPECT_EQ(run_mapl("train /nowhere.toml").exit_code, 2);
}

}  // namespace
}  // namespace mapl::cli
