#include "codec/projector.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/status.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

Projector projector(const std::string& kind, int64_t boundary = 1, int64_t rank = 3) {
  return Projector({.kind = kind, .boundary = boundary, .hidden_size = 8, .rank = rank, .seed = 2});
}

TEST(Projector, AnUnknownKindIsRefusedWithTheKnownOnes) {
  try {
    projector("pca");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "unknown boundary.projector \"pca\"; known: identity, frozen, free, stiefel");
  }
}

TEST(Projector, EveryBoundaryHasABasisOfItsOwn) {
  EXPECT_TRUE(torch::equal(projector("frozen", 1).basis(), projector("stiefel", 1).basis()));
  EXPECT_FALSE(torch::equal(projector("frozen", 1).basis(), projector("frozen", 2).basis()));
}

TEST(Projector, AtFullRankNothingIsLost) {
  const Projector square = projector("stiefel", 1, 8);
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor back = square.restore(square.project(x, {}, nullptr), {}, nullptr);
  EXPECT_TRUE(torch::allclose(back, x, 1e-5, 1e-5));
}

TEST(Projector, WhatComesBackIsTheNearestInTheSubspace) {
  const Projector p = projector("frozen");
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor z = p.project(x, {}, nullptr);
  EXPECT_EQ(z.sizes(), torch::IntArrayRef({5, 3}));
  const at::Tensor lost = x - p.restore(z, {}, nullptr);
  EXPECT_LT(lost.mm(p.basis()).abs().max().item<double>(), 1e-5);
}

TEST(Projector, WithoutNoiseOrLossAnchorsOfTheTwoEndsCancel) {
  const at::Tensor embedding = torch::randn({10, 8});
  const auto anchor = make_anchor({.name = "a", .kind = "full", .embedding_VD = embedding});
  const at::Tensor ids = torch::randint(0, 10, {5}, torch::kLong);
  for (const char* kind : {"identity", "stiefel"}) {
    const Projector p = projector(kind);
    const at::Tensor x = embedding.index_select(0, ids);
    EXPECT_EQ(p.project(x, ids, anchor.get()).abs().max().item<double>(), 0.0) << kind;
    const at::Tensor back = p.restore(torch::zeros({5, p.width()}), ids, anchor.get());
    EXPECT_TRUE(torch::equal(back, x)) << kind;
  }
}

}  // namespace
}  // namespace mapl::codec
