#include "train/fields.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace mapl::train {
namespace {

TEST(Fields, AreDifferentKeysOfDifferentMembersWithAMeaning) {
  Recipe recipe;
  std::set<std::string> names;
  std::set<Field::Target> targets;
  for (const Field& field : fields(recipe)) {
    EXPECT_TRUE(names.insert(field.name()).second) << field.name();
    EXPECT_TRUE(targets.insert(field.target).second) << field.name();
    EXPECT_FALSE(field.help.empty()) << field.name();
    EXPECT_EQ(field.help.find('|'), std::string::npos) << "breaks the table: " << field.name();
  }
}

TEST(Fields, StandInThePageAboutRecipes) {
  std::ifstream file(MAPL_SOURCE_DIR "/docs/recipe.md");
  std::stringstream page;
  page << file.rdbuf();
  EXPECT_NE(page.str().find(markdown()), std::string::npos)
      << "the tables of docs/recipe.md should be:\n"
      << markdown();
}

}  // namespace
}  // namespace mapl::train
