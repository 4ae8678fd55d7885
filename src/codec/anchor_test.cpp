#include "codec/anchor.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/status.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

AnchorOptions options(const std::string& kind, const std::string& name = "a", uint64_t seed = 1) {
  torch::manual_seed(4);
  return {.name = name,
          .kind = kind,
          .rank = 6,
          .seed = seed,
          .embedding_VD = 0.5 * torch::randn({200, 24})};
}

TEST(Anchor, NoneIsNull) { EXPECT_EQ(make_anchor(options("none")), nullptr); }

TEST(Anchor, AnUnknownKindIsRefusedWithTheKnownOnes) {
  try {
    make_anchor(options("bigram"));
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "unknown boundary.anchor \"bigram\"; known: none, static, fixed, factorized, full");
  }
}

TEST(Anchor, FullStartsAsACopyOfTheEmbedding) {
  const AnchorOptions given = options("full");
  const auto anchor = make_anchor(given);
  EXPECT_TRUE(torch::equal(anchor->lookup(torch::arange(200)), given.embedding_VD));
  at::NoGradGuard no_grad;
  anchor->parameters()[0].value.zero_();
  EXPECT_GT(given.embedding_VD.abs().sum().item<double>(), 0);
}

// Emb P^T P is the nearest to the embedding that rows in span(P) can be: applying it twice changes
// nothing.
TEST(Anchor, FactorizedStartsAsTheEmbeddingSeenThroughItsProjection) {
  const AnchorOptions given = options("factorized");
  const auto anchor = make_anchor(given);
  const at::Tensor p = anchor->state()[1].second;
  EXPECT_EQ(p.sizes(), torch::IntArrayRef({6, 24}));
  EXPECT_LE(math::orthogonality_error(p.t()), 1e-6);
  EXPECT_FALSE(p.requires_grad());
  const at::Tensor start = anchor->lookup(torch::arange(200)).detach();
  EXPECT_TRUE(torch::allclose(start, given.embedding_VD.mm(p.t()).mm(p), 1e-5, 1e-5));
  EXPECT_TRUE(
      torch::allclose((given.embedding_VD - start).mm(p.t()), torch::zeros({200, 6}), 0, 1e-5));
}

TEST(Anchor, TheFrozenPartsAreOneForARunAndAnotherForAnotherSeed) {
  for (const char* kind : {"static", "factorized"}) {
    const auto sender =
        make_anchor(options(kind, "boundary.1.sender.anchor"))->state().back().second;
    const auto receiver =
        make_anchor(options(kind, "boundary.5.receiver.anchor"))->state().back().second;
    EXPECT_TRUE(torch::equal(sender, receiver)) << kind;
    EXPECT_FALSE(torch::equal(sender, make_anchor(options(kind, "a", 2))->state().back().second))
        << kind;
  }
}

TEST(Anchor, FixedIsTheEmbeddingOfTheStartAndIsNotTrained) {
  const AnchorOptions given = options("fixed");
  const auto anchor = make_anchor(given);
  EXPECT_TRUE(anchor->parameters().empty());
  EXPECT_TRUE(torch::equal(anchor->lookup(torch::arange(200)), given.embedding_VD));
}

TEST(Anchor, SparseTablesTouchTheRowsOfTheTokens) {
  for (const char* kind : {"factorized", "full"}) {
    AnchorOptions given = options(kind);
    given.sparse = true;
    const auto anchor = make_anchor(given);
    anchor->lookup(torch::tensor({3, 9, 3}, torch::kLong)).sum().backward();
    const auto parameter = anchor->parameters().front();
    EXPECT_EQ(parameter.rule, math::Rule::kSparseAdamW) << kind;
    EXPECT_EQ(parameter.touched->rows(), (std::vector<int64_t>{3, 9})) << kind;
  }
}

TEST(Anchor, StaticIsNotTrainedAndAsLargeAsTheEmbedding) {
  const auto anchor = make_anchor(options("static"));
  EXPECT_TRUE(anchor->parameters().empty());
  const at::Tensor table = anchor->lookup(torch::arange(200));
  EXPECT_FALSE(table.requires_grad());
  // 4800 numbers of deviation 0.5: their root mean square varies by 1 %.
  EXPECT_NEAR(table.square().mean().sqrt().item<double>(), 0.5, 0.03);
}

}  // namespace
}  // namespace mapl::codec
