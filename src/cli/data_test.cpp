#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Data, HandsItsWordsToTheTokenizer) {
  const Ran help = run_mapl("data --help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.output.find("--vocab-size"), std::string::npos) << help.output;
  const Ran ran = run_mapl("data --text /nowhere.txt --vocab-size 300 --out /tmp/nothing");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("/nowhere.txt"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mapl::cli
