#include "report/comparison.h"

#include <gtest/gtest.h>

#include <cmath>

#include "report/run_for_test.h"

namespace mapl::report {
namespace {

std::vector<double> falling(double by) {
  std::vector<double> losses;
  for (int i = 0; i < 50; ++i) losses.push_back(10 - by * i);
  return losses;
}

TEST(Comparison, RowsHaveMeanSpreadAndTheGapToTheBaseline) {
  const RunForTest plain(falling(0.1), 4.0), low(falling(0.2), 4.1), high(falling(0.2), 4.3);
  const std::vector<Arm> arms = {{"mapl", {read_run(low.folder()), read_run(high.folder())}},
                                 {"uncompressed", {read_run(plain.folder())}}};
  const std::string table = comparison_table(arms);
  const auto has = [&](const std::string& text) { return table.find(text) != std::string::npos; };
  EXPECT_TRUE(has("4.2000 +- 0.1414")) << table;  // of 4.1 and 4.3
  EXPECT_TRUE(has("+5.00 %")) << table;
  EXPECT_TRUE(has("+0.00 %")) << table;
  EXPECT_TRUE(has("1.50 M")) << table;
  EXPECT_TRUE(has("vs uncompressed")) << table;
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);
}

TEST(Comparison, TheFirstArmIsTheBaselineWithoutAnUncompressedOne) {
  const RunForTest a(falling(0.1), 4.0), b(falling(0.1), 5.0);
  const std::string table =
      comparison_table({{"b", {read_run(b.folder())}}, {"a", {read_run(a.folder())}}});
  EXPECT_NE(table.find("vs b"), std::string::npos) << table;
  EXPECT_NE(table.find("-20.00 %"), std::string::npos) << table;
}

TEST(Comparison, TimeToALossIsThatOfTheMeanOfTen) {
  const RunForTest run(falling(0.1), 4.0);
  const RunFigures figures = read_run(run.folder());
  // The mean of steps 21 to 30 (losses 8.0 down to 7.1) is 7.55.
  EXPECT_EQ(seconds_to_loss(figures, 7.55 + 1e-9), 30);
  EXPECT_EQ(seconds_to_loss(figures, 7.55 - 1e-9), 31);
  EXPECT_EQ(seconds_to_loss(figures, 100), 10);  // not before there are ten
  EXPECT_TRUE(std::isnan(seconds_to_loss(figures, 1)));
}

}  // namespace
}  // namespace mapl::report
