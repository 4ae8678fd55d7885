#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Report, WritesAPageAboutARun) {
  const train::SmallRun small;
  const std::string run = small.folder() + "/run";
  ASSERT_EQ(run_mapl("train " + small.recipe_file() + " --quiet --run " + run).exit_code, 0);
  const std::string out = small.folder() + "/report.html";
  const Ran ran = run_mapl("report " + run + " --out " + out);
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  std::ifstream file(out);
  const std::string html{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(html.find("Loss against bytes"), std::string::npos);
  EXPECT_NE(html.find("</html>"), std::string::npos);
}

TEST(Report, WhatIsNotARunOrCannotBeWrittenIsTheUsersMistake) {
  const train::SmallRun small;
  EXPECT_EQ(run_mapl("report /nowhere --out " + small.folder() + "/x.html").exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(small.folder() + "/x.html"));
  EXPECT_EQ(run_mapl("report").exit_code, 2);
}

}  // namespace
}  // namespace mapl::cli
