#include "codec/options.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace mapl::codec {
namespace {

constexpr int64_t kHidden = 16;
const Options kStiefel{.projector = "stiefel", .rank = 4, .anchor = "factorized"};

std::string refusal(const Options& options) {
  try {
    validate(options, kHidden);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(Validate, NamesTheKeyThatIsWrong) {
  EXPECT_EQ(refusal(kStiefel), "");
  EXPECT_EQ(refusal({.projector = "stifel", .rank = 4}),
            "unknown boundary.projector \"stifel\"; known: identity, frozen, free, stiefel, "
            "subspace, bottleneck");
  EXPECT_EQ(refusal({.rank = 4, .anchor = "low"}),
            "unknown boundary.anchor \"low\"; known: none, static, fixed, factorized, full");
  EXPECT_EQ(refusal({.rank = 4, .anchor_sharing = "run"}),
            "unknown boundary.anchor_sharing \"run\"; known: end, stage");
  EXPECT_EQ(
      refusal({.rank = 4, .activation = "fp4"}),
      "unknown boundary.activation \"fp4\"; known: f32, bf16, int8, int6, int5, int4, topk, rvq");
  EXPECT_EQ(
      refusal({.rank = 4, .gradient = "fp4"}),
      "unknown boundary.gradient \"fp4\"; known: f32, bf16, int8, int6, int5, int4, topk, rvq");
  EXPECT_EQ(refusal({.rank = 17}), "boundary.rank is 17; it must be in 1..16 (model.hidden_size)");
  EXPECT_EQ(refusal({.rank = 0}), "boundary.rank is 0; it must be in 1..16 (model.hidden_size)");
  EXPECT_EQ(refusal({.rank = 4, .anchor_rank = 17}),
            "boundary.anchor_rank is 17; it must be in 1..16 (model.hidden_size)");
}

TEST(Validate, VariantsNeedWhatTheyVary) {
  EXPECT_EQ(refusal({.projector = "frozen", .rank = 4, .basis_restart = 40}), "");
  EXPECT_EQ(refusal({.projector = "stiefel", .rank = 4, .basis_interval = 0}),
            "boundary.basis_interval is 0; it must be at least 1 (every step)");
  EXPECT_EQ(refusal({.projector = "bottleneck", .rank = 4, .basis_restart = 40}),
            "boundary.basis_restart is 40; projector \"bottleneck\" has no basis to start again (0 "
            "= off)");
  EXPECT_EQ(refusal({.rank = 4, .basis_gradient = "receiver"}),
            "unknown boundary.basis_gradient \"receiver\"; known: both, sender");
  EXPECT_EQ(refusal({.rank = 4, .first_anchor = "embedding"}), "");
  EXPECT_NE(refusal({.rank = 4, .anchor = "none", .first_anchor = "embedding"}), "");
  EXPECT_NE(refusal({.rank = 4, .anchor_sharing = "stage", .first_anchor = "embedding"}), "");
  EXPECT_EQ(refusal({.rank = 4, .anchor_sharing = "stage", .first_anchor = "fixed"}), "");
  EXPECT_EQ(refusal({.rank = 4, .anchor = "none", .first_anchor = "fixed"}),
            "boundary.first_anchor = \"fixed\" needs an anchor at the other ends: boundary.anchor "
            "is \"none\"");
  EXPECT_NE(
      refusal({.projector = "subspace", .rank = 4, .anchor = "fixed", .first_anchor = "embedding"}),
      "");
}

// Codebooks that were fitted under the basis of before would decode under the new one.
TEST(Validate, ABasisStartsAgainBeforeThereAreCodebooks) {
  Options options{.rank = 4, .basis_restart = 40, .rvq_group_size = 2, .rvq_warmup_steps = 40};
  EXPECT_EQ(refusal(options), "");  // not in use
  for (std::string Options::*leg : {&Options::activation, &Options::gradient}) {
    Options codes = options;
    codes.*leg = "rvq";
    EXPECT_EQ(refusal(codes),
              "boundary.basis_restart is 40 and boundary.rvq_warmup_steps is 40: codebooks would "
              "be of a basis that is gone; let the basis start again before the warm-up is over");
    codes.rvq_warmup_steps = 41;
    EXPECT_EQ(refusal(codes), "");
    codes.rvq_warmup_steps = 1;
    codes.basis_restart = 0;
    EXPECT_EQ(refusal(codes), "");
  }
}

TEST(Validate, AsksThePackingOfEachLeg) {
  const auto starts = [](const Options& options, const std::string& start) {
    EXPECT_EQ(refusal(options).substr(0, start.size()), start);
  };
  starts({.rank = 4, .activation = "int8", .group_size = 0}, "boundary.group_size is 0");
  starts({.rank = 6, .gradient = "int4", .group_size = 4, .hadamard = true},
         "boundary.hadamard turns groups of 4 columns of 6");
  starts({.rank = 6, .gradient = "int4", .hadamard = true},
         "boundary.hadamard turns groups of 6 columns of 6");
  starts({.rank = 4, .activation = "topk", .topk = 5}, "boundary.topk is 5");
  starts({.rank = 4, .activation = "rvq", .rvq_group_size = 3},
         "boundary.rvq_group_size is 3; it must divide the 4 columns");
  starts({.rank = 4, .gradient = "rvq", .rvq_group_size = 2, .rvq_entries = 65537},
         "boundary.rvq_entries is 65537");
  EXPECT_EQ(refusal({.rank = 4, .topk = 5, .rvq_group_size = 3}), "");  // not in use
}

TEST(Validate, ASubspaceNeedsTheFixedAnchor) {
  EXPECT_EQ(refusal({.projector = "subspace",
                     .rank = 4,
                     .anchor = "full",
                     .anchor_sharing = "stage",
                     .ngram = 2}),
            "");
  EXPECT_NE(refusal({.projector = "subspace", .rank = 4, .anchor = "fixed", .ngram = 2}), "");
  EXPECT_EQ(refusal({.projector = "subspace", .rank = 4, .anchor = "fixed"}), "");
  for (const char* anchor : {"none", "factorized"}) {
    EXPECT_NE(refusal({.projector = "subspace", .rank = 4, .anchor = anchor}).find("\"fixed\""),
              std::string::npos);
  }
}

TEST(Validate, IdentityNeedsNoRank) {
  EXPECT_EQ(refusal({.projector = "identity", .rank = 99, .anchor = "none"}), "");
  EXPECT_NE(refusal({.projector = "identity", .rank = 99, .anchor = "factorized"}), "");
  EXPECT_EQ(refusal({.projector = "identity", .rank = 99, .anchor_rank = 4}), "");
}

TEST(Validate, TablesOfNgramsNeedARankThatFits) {
  const Options ngrams{.projector = "identity", .rank = 99, .anchor = "none", .ngram = 2};
  EXPECT_EQ(refusal(ngrams), "boundary.rank is 99; it must be in 1..16 (model.hidden_size)");
  for (int64_t Options::*rank : {&Options::rank, &Options::anchor_rank, &Options::ngram_rank}) {
    Options fits = ngrams;
    fits.*rank = 4;
    EXPECT_EQ(refusal(fits), "");
  }
}

}  // namespace
}  // namespace mapl::codec
