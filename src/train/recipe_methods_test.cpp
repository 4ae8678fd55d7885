#include "train/recipe_methods.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace mapl::train {
namespace {

TEST(Methods, AreAllAcceptedByTheCodec) {
  for (const std::string& name : method_names())
    EXPECT_NO_THROW(codec::validate(method(name, {.rank = 8}), 64)) << name;
}

TEST(Methods, LeaveTheRankAlone) {
  const codec::Options options = method("frozen", {.rank = 7, .anchor_rank = 5, .group_size = 9});
  EXPECT_EQ(options.projector, "frozen");
  EXPECT_EQ(options.anchor, "factorized");
  EXPECT_EQ(options.rank, 7);
  EXPECT_EQ(options.anchor_rank, 5);
  EXPECT_EQ(options.group_size, 9);
}

TEST(Methods, SetBothLegs) {
  const codec::Options options = method("quantised", {});
  EXPECT_EQ(options.projector, "identity");
  EXPECT_EQ(options.anchor, "none");
  EXPECT_EQ(options.activation, "int8");
  EXPECT_EQ(options.gradient, "int8");
  EXPECT_EQ(method("mapl-vq", {}).activation, "rvq");
  EXPECT_EQ(method("mapl-vq", {}).gradient, "bf16");
}

// With the mean left in, int4 on a trained model's activations loses seven times as much
// (docs/codecs/mean.md).
TEST(Methods, FewBitsComeWithWhatTheyNeed) {
  const codec::Options options = method("mapl-int4", {});
  EXPECT_EQ(options.activation, "int4");
  EXPECT_EQ(options.gradient, "int4");
  EXPECT_TRUE(options.subtract_mean);
  EXPECT_TRUE(options.hadamard);
  EXPECT_TRUE(method("mapl-vq", {}).subtract_mean);
  // And the next method does without again.
  const codec::Options plain = method("mapl", options);
  EXPECT_FALSE(plain.subtract_mean);
  EXPECT_FALSE(plain.hadamard);
}

// Or a control would be trained under the name of a method, or the method refused.
TEST(Methods, OnlyThoseWithMaplsAnchorsKeepWhatAFileGivesMapl) {
  const codec::Options file{.rank = 8, .basis_restart = 5, .first_anchor = "embedding", .ngram = 2};
  for (const std::string& name : method_names()) {
    const codec::Options options = method(name, file);
    const bool keeps = options.anchor == "factorized";
    EXPECT_EQ(options.ngram, keeps ? 2 : 0) << name;
    EXPECT_EQ(options.first_anchor, keeps ? "embedding" : "own") << name;
    EXPECT_EQ(options.basis_restart, keeps ? 5 : 0) << name;
    EXPECT_NO_THROW(codec::validate(options, 64)) << name;
  }
}

TEST(Methods, ListThemselvesWhenTheNameIsUnknown) {
  try {
    method("quantized", {});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "boundary.method = \"quantized\" is unknown: use one of uncompressed, mapl, "
                 "mapl-int8, mapl-int4, mapl-vq, frozen, free, quantised, topk, ssn, reparam-ssn, "
                 "resbm");
  }
}

}  // namespace
}  // namespace mapl::train
