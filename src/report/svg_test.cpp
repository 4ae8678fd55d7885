#include "report/svg.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mapl::report {
namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

TEST(Ticks, AreRoundAndSpanTheRange) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(3.41, 3.99, 6), (std::vector<double>{3.4, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0}));
  for (const auto& [low, high] :
       {std::pair(-3e-7, 2e-7), std::pair(1e6, 1.7e6), std::pair(-5.0, 1234.0)}) {
    const auto marks = ticks(low, high, 6);
    EXPECT_LE(marks.front(), low);
    EXPECT_GE(marks.back(), high);
    EXPECT_LE(marks.size(), 8u);
  }
}

TEST(LogTicks, AreOneTwoAndFiveTimesAPowerOfTen) {
  EXPECT_EQ(log_ticks(15.7, 1025.7, 6), (std::vector<double>{20, 50, 100, 200, 500, 1000}));
  EXPECT_EQ(log_ticks(1, 2e6, 7), (std::vector<double>{1, 10, 100, 1e3, 1e4, 1e5, 1e6}));
  EXPECT_EQ(log_ticks(5, 5, 6), std::vector<double>{5});
}

TEST(Escape, LeavesNoMarkupAndNoBrokenText) {
  EXPECT_EQ(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(escape("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"),
            "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(escape("a\xFF\xC3"), "a??");
  EXPECT_EQ(escape(std::string("\x00\x1b[", 3)), "??[");
}

TEST(LineChart, PutsExtremesAtTheEdges) {
  const std::string chart = line_chart({{"a", {{0, 0}, {10, 4}}}}, {.x_label = "x"});
  // The picture is 720 wide with 64 and 16 around, 380 high with 14 and 46.
  EXPECT_NE(chart.find("points=\"64.0,334.0 704.0,14.0 \""), std::string::npos) << chart;
}

TEST(LineChart, LeavesOutWhatIsNotANumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string chart =
      line_chart({{"a", {{1, 1}, {2, nan}, {3, 2}}}, {"<b>", {}}}, {.title = "t", .log_x = true});
  EXPECT_EQ(count(chart, "<polyline"), 1u);
  EXPECT_EQ(count(chart, "nan"), 0u);
  EXPECT_EQ(count(chart, "inf"), 0u);
  EXPECT_NE(chart.find("&lt;b&gt;"), std::string::npos);  // in the legend
  EXPECT_EQ(count(line_chart({}, {}), "nan"), 0u);
  EXPECT_EQ(count(line_chart({{"one", {{5, 5}}}}, {}), "nan"), 0u);
}

TEST(LineChart, LinesOfOneColourDifferInTheirDashes) {
  const std::vector<Series> many(9, {"a", {{0, 0}, {1, 1}}});
  const std::string chart = line_chart(many, {});
  EXPECT_EQ(count(chart, "<polyline class=\"series-0\""), 2u);
  EXPECT_EQ(count(chart, "stroke-dasharray"), 2u);  // the ninth line, and its key
}

TEST(LineChart, LeavesOutWhatLiesTooHigh) {
  const std::string chart =
      line_chart({{"a", {{0, 9}, {5, 4}, {10, 0}}}}, {.x_label = "x", .highest = 4});
  EXPECT_NE(chart.find("points=\"64.0,14.0 704.0,334.0 \""), std::string::npos) << chart;
}

// The picture is 720 wide, and a letter of a legend at most 7.
TEST(LineChart, NoNameLeavesThePicture) {
  const std::string name = "frozen+rank=10+activation=int4+gradient=int4+anchor=full+ngram=2+" +
                           std::string(60, '9') + "/seed-0";
  const std::string chart = line_chart({{name, {{0, 0}}}, {"short", {{0, 1}}}}, {});
  EXPECT_EQ(chart.find(name), std::string::npos);
  const size_t start = chart.find("frozen+rank=10"), end = chart.find("/seed-0</text>");
  ASSERT_NE(start, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  EXPECT_LE(102 + 7 * (end + 7 - start), 750u);
  // Short ones stand side by side.
  const std::vector<Series> many(8, {"boundary 0", {{0, 0}, {1, 1}}});
  EXPECT_NE(line_chart(many, {}).find("viewBox=\"0 0 720 426\""), std::string::npos);
}

TEST(ScatterChart, HasADotAndANameForEach) {
  const std::string chart =
      scatter_chart({{"a", {{500, 3.4}}, "1"}, {"b", {{100, 3.5}}, "2"}}, {.log_x = true});
  EXPECT_EQ(count(chart, "<circle"), 2u);
  EXPECT_NE(chart.find("text-anchor=\"end\">1</text>"), std::string::npos) << chart;
  EXPECT_NE(chart.find("text-anchor=\"start\">2</text>"), std::string::npos) << chart;
  EXPECT_NE(chart.find(">b</text>"), std::string::npos);
  EXPECT_NE(scatter_chart({{"a", {{1000, 1}}}}, {.log_x = true}).find(">1k</text>"),
            std::string::npos);
}

TEST(ShareChart, BarsFillTheirRow) {
  const std::string chart = share_chart({"x", "y"}, {{"r", {1, 3}}, {"empty", {0, 0}}}, "t");
  EXPECT_NE(chart.find("x=\"220.0\" y=\"4\" width=\"121.0\""), std::string::npos) << chart;
  EXPECT_NE(chart.find("x=\"341.0\" y=\"4\" width=\"363.0\""), std::string::npos) << chart;
  EXPECT_EQ(count(chart, "nan"), 0u);
}

}  // namespace
}  // namespace mapl::report
