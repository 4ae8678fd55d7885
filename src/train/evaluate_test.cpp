#include "train/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "train/assembly.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(Evaluate, AnUntrainedModelKnowsNothing) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=1"});
  Assembly assembly(recipe, 0);
  const auto result = evaluate(recipe, assembly.state(), "the start");
  EXPECT_NEAR(result.loss, std::log(97), 1e-5);  // a head of zeros
  EXPECT_EQ(result.tokens, 4 * 8);
}

}  // namespace
}  // namespace mapl::train
