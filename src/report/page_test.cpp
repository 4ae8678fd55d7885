#include "report/page.h"

#include <gtest/gtest.h>

#include "base/status.h"
#include "report/run_for_test.h"

namespace mapl::report {
namespace {

TEST(Page, ShowsEachRunInEachChartAndWhatDiffers) {
  const RunForTest a(std::vector<double>(30, 4.0), 3.5), b(std::vector<double>(20, 5.0), 4.5);
  const std::string html = page({a.folder(), b.folder()});
  const auto has = [&](const std::string& text) { return html.find(text) != std::string::npos; };
  EXPECT_TRUE(has("3.5000") && has("4.5000"));
  EXPECT_TRUE(has("<td>training.steps</td><td>30</td><td>20</td>"));
  EXPECT_FALSE(has("boundary.method"));  // equal in both
  for (const char* title : {"Loss against tokens", "Loss against bytes", "Loss against time",
                            "Validation loss against bytes per token", "Energy kept",
                            "Angle between neighbouring bases", "Codebook usage", "Codebook error",
                            "Where the time of each stage went"}) {
    EXPECT_TRUE(has(title)) << title;
  }
  EXPECT_TRUE(has("run 2, boundary 1"));
  EXPECT_TRUE(has("run 1, out, boundary 0"));
  EXPECT_TRUE(has("1.50 M"));
  EXPECT_FALSE(has("out, boundary 1"));  // has no codebooks
  EXPECT_TRUE(has("stage 2"));
}

TEST(Page, NeedsNothingElse) {
  const RunForTest a({4, 3, 2}, 3.5);
  const std::string html = page({a.folder()});
  for (const char* outside : {"http", "src=", "@import", "url(", "<script"}) {
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  }
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(Page, AFolderThatIsNoRunIsTheUsersError) {
  EXPECT_THROW(page({"/nowhere"}), UserError);
  const RunForTest a({4, 3}, 3.5);
  std::filesystem::remove(a.folder() + "/recipe.toml");
  EXPECT_THROW(page({a.folder()}), UserError);
}

}  // namespace
}  // namespace mapl::report
