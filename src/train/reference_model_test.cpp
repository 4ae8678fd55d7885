#include "train/reference_model.h"

#include <gtest/gtest.h>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(ReferenceModel, IsUncutOnlyWhenTheBoundaryChangesNothing) {
  const SmallRun small;
  ReferenceModel lossless(small.recipe(
      {"boundary.method=uncompressed", "boundary.activation=f32", "boundary.gradient=f32"}));
  EXPECT_EQ(lossless.num_pieces(), 1);
  ReferenceModel rounded(small.recipe({"boundary.method=uncompressed"}));
  EXPECT_EQ(rounded.num_pieces(), 4);
  EXPECT_FALSE(is_lossless(small.recipe()));
}

// The gradient norm is summed along this order, so it must be that of the stages one after the
// other.
TEST(ReferenceModel, HasTheParametersOfTheStagesInOrder) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  ReferenceModel model(recipe);
  std::vector<std::string> expected;
  for (int k = 0; k < 4; ++k) {
    Assembly assembly(recipe, k);
    for (const auto& parameter : assembly.parameters()) expected.push_back(parameter.name);
  }
  std::vector<std::string> names;
  for (const auto& parameter : model.parameters()) names.push_back(parameter.name);
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace mapl::train
