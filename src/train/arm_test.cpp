#include "train/arm.h"

#include <gtest/gtest.h>

#include "base/status.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(Arm, IsAMethodAndItsKeys) {
  EXPECT_EQ(parse_arm("mapl").overrides, std::vector<std::string>{"boundary.method=mapl"});
  EXPECT_EQ(parse_arm("mapl+ngram=2+optimizer.adamw_lr=0.02").overrides,
            (std::vector<std::string>{"boundary.method=mapl", "boundary.ngram=2",
                                      "optimizer.adamw_lr=0.02"}));
  for (const char* text : {"", "+mapl", "rank=4", "mapl+frozen", "mapl++rank=4"}) {
    EXPECT_THROW(parse_arm(text), UserError) << text;
  }
}

TEST(Arm, TokensAndModelMustBeTheSame) {
  const SmallRun small;
  const auto unfair = [&](const std::vector<std::string>& overrides) {
    return unfair_difference(small.recipe(), small.recipe(overrides));
  };
  EXPECT_EQ(unfair({"boundary.method=frozen", "training.seed=3", "optimizer.muon_lr=0.1"}), "");
  EXPECT_EQ(unfair({"training.steps=7"}), "training.steps: 6 -> 7\n");
  EXPECT_NE(unfair({"model.intermediate_size=32"}), "");
  EXPECT_NE(unfair({"data.train=elsewhere"}), "");
  EXPECT_NE(unfair({"link.bandwidth_mbps=7"}), "");
}

}  // namespace
}  // namespace mapl::train
