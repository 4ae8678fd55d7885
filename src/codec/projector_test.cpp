#include "codec/projector.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/status.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

std::unique_ptr<Projector> projector(const std::string& kind, int64_t boundary = 1,
                                     int64_t rank = 3, bool sends = true) {
  return make_projector({.kind = kind,
                         .sends = sends,
                         .boundary = boundary,
                         .hidden_size = 8,
                         .rank = rank,
                         .seed = 2});
}

TEST(Projector, AnUnknownKindIsRefusedWithTheKnownOnes) {
  try {
    projector("pca");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "unknown boundary.projector \"pca\"; known: identity, frozen, free, stiefel, "
                 "subspace, bottleneck");
  }
}

TEST(Projector, EveryBoundaryHasABasisOfItsOwn) {
  EXPECT_TRUE(torch::equal(projector("frozen", 1)->basis(), projector("stiefel", 1)->basis()));
  EXPECT_FALSE(torch::equal(projector("frozen", 1)->basis(), projector("frozen", 2)->basis()));
}

TEST(Projector, AtFullRankNothingIsLost) {
  const auto square = projector("stiefel", 1, 8);
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor back = square->restore(square->project(x, {}, nullptr), {}, nullptr);
  EXPECT_TRUE(torch::allclose(back, x, 1e-5, 1e-5));
}

TEST(Projector, WhatComesBackIsTheNearestInTheSubspace) {
  const auto p = projector("frozen");
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor z = p->project(x, {}, nullptr);
  EXPECT_EQ(z.sizes(), torch::IntArrayRef({5, 3}));
  const at::Tensor lost = x - p->restore(z, {}, nullptr);
  EXPECT_LT(lost.mm(p->basis()).abs().max().item<double>(), 1e-5);
}

TEST(Projector, WithoutNoiseOrLossAnchorsOfTheTwoEndsCancel) {
  const at::Tensor embedding = torch::randn({10, 8});
  const auto anchor = make_anchor({.name = "a", .kind = "full", .embedding_VD = embedding});
  const at::Tensor ids = torch::randint(0, 10, {5}, torch::kLong);
  for (const char* kind : {"identity", "stiefel"}) {
    const auto p = projector(kind);
    const at::Tensor x = embedding.index_select(0, ids);
    EXPECT_EQ(p->project(x, ids, anchor.get()).abs().max().item<double>(), 0.0) << kind;
    const at::Tensor back = p->restore(torch::zeros({5, p->width()}), ids, anchor.get());
    EXPECT_TRUE(torch::equal(back, x)) << kind;
  }
}

TEST(Projector, ASubspaceIsTheSameAtAllBoundaries) {
  const at::Tensor basis = subspace_basis(8, 3, 2);
  EXPECT_TRUE(torch::equal(projector("subspace", 1)->basis(), basis));
  EXPECT_TRUE(torch::equal(projector("subspace", 5, 3, false)->basis(), basis));
  EXPECT_FALSE(projector("subspace")->rule().has_value());
}

// Against the formula in float64, and its identity path alone when the networks are zero.
TEST(Projector, ABottleneckIsANetworkBesideTheFirstColumns) {
  const auto sender = projector("bottleneck");
  const auto receiver = projector("bottleneck", 1, 3, false);
  const auto through = [](const Projector& p, const at::Tensor& rows) {
    const auto own = p.own_parameters();
    const at::Tensor inner = rows.mm(own[0].value.detach().to(torch::kDouble).t());
    return torch::silu(inner).mm(own[1].value.detach().to(torch::kDouble).t());
  };
  at::NoGradGuard no_grad;
  for (auto* p : {sender.get(), receiver.get()}) {
    for (auto& own : p->own_parameters()) own.value.mul_(30);  // so that the network counts
  }
  const at::Tensor x = torch::randn({5, 8});
  const at::Tensor z = sender->project(x, {}, nullptr);
  const at::Tensor x64 = x.to(torch::kDouble);
  EXPECT_TRUE(torch::allclose(z.to(torch::kDouble), through(*sender, x64) + x64.narrow(1, 0, 3),
                              1e-4, 1e-4));
  const at::Tensor z64 = z.to(torch::kDouble);
  const at::Tensor expected = through(*receiver, z64) + torch::constant_pad_nd(z64, {0, 5});
  EXPECT_TRUE(
      torch::allclose(receiver->restore(z, {}, nullptr).to(torch::kDouble), expected, 1e-4, 1e-4));
  for (auto* p : {sender.get(), receiver.get()}) {
    for (auto& own : p->own_parameters()) own.value.zero_();
  }
  const at::Tensor back = receiver->restore(sender->project(x, {}, nullptr), {}, nullptr);
  EXPECT_TRUE(torch::equal(back.narrow(1, 0, 3), x.narrow(1, 0, 3)));
  EXPECT_EQ(back.narrow(1, 3, 5).abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace mapl::codec
