#include "codec/codec.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "codec/pair_for_test.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

const Options kStiefel{.projector = "stiefel", .rank = 4, .anchor = "factorized"};

TEST(Ends, IdentityWithoutAnAnchorIsTheTensorItself) {
  Pair pair({.projector = "identity", .anchor = "none"});
  const at::Tensor x = some_x();
  EXPECT_TRUE(pair.sender.project(x, some_ids()).is_same(x));
  EXPECT_TRUE(pair.receiver.restore(x, some_ids()).is_same(x));
  EXPECT_EQ(pair.sender.width(), kHidden);
}

TEST(Ends, NamesAndRulesAreTheGlobalOnes) {
  Pair pair(kStiefel);
  const auto sent = pair.sender.parameters();
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].name, "boundary.2.sender.basis");
  EXPECT_EQ(sent[0].rule, math::Rule::kSpel);
  EXPECT_EQ(sent[1].name, "boundary.2.sender.anchor.table");
  EXPECT_EQ(sent[1].rule, math::Rule::kAdamW);
  const auto received = pair.receiver.parameters();
  ASSERT_EQ(received.size(), 1U);
  EXPECT_EQ(received[0].name, "boundary.2.receiver.anchor.table");
  EXPECT_TRUE(find(pair.receiver.state(), "boundary.2.receiver.basis").defined());
  EXPECT_TRUE(find(pair.sender.state(), "boundary.2.sender.anchor.projection").defined());
}

TEST(Ends, OnlyFreeAndStiefelTrainTheirBasisAndAllStartAlike) {
  at::Tensor start;
  for (const char* projector : {"frozen", "free", "stiefel"}) {
    Pair pair({.projector = projector, .rank = 4, .anchor = "none"});
    const auto parameters = pair.sender.parameters();
    if (std::string(projector) == "frozen") {
      EXPECT_TRUE(parameters.empty());
      EXPECT_EQ(pair.sender.sync_bytes(0), 0);
    } else {
      ASSERT_EQ(parameters.size(), 1U);
      EXPECT_EQ(parameters[0].rule,
                std::string(projector) == "free" ? math::Rule::kFreeBasis : math::Rule::kSpel);
      EXPECT_EQ(pair.sender.sync_bytes(0), 4 * 4 * kHidden);
    }
    EXPECT_EQ(pair.sender.basis_bytes(), 4 * 4 * kHidden);  // the start
    const at::Tensor basis = find(pair.sender.state(), "basis");
    if (!start.defined()) start = basis;
    EXPECT_TRUE(torch::equal(basis, start));
    EXPECT_TRUE(torch::equal(basis, find(pair.receiver.state(), "basis")));
    EXPECT_LE(pair.sender.orthogonality_error(), 1e-6);
  }
  Pair other({.projector = "frozen", .rank = 4, .anchor = "none"}, /*seed=*/6);
  EXPECT_FALSE(torch::equal(find(other.sender.state(), "basis"), start));
}

TEST(Ends, OneChangedBitOfABasisChangesTheHash) {
  Pair pair(kStiefel);
  Bytes basis = pair.sender.packed_basis();
  basis[17] ^= std::byte{1};
  ASSERT_TRUE(pair.receiver.set_basis(basis).is_ok());
  EXPECT_NE(pair.receiver.state_hash(), pair.sender.state_hash());
}

TEST(Ends, ABasisThatIsNotFiniteIsRefusedAndNothingIsApplied) {
  Pair pair(kStiefel);
  const uint64_t before = pair.receiver.state_hash();
  Bytes bytes = pair.sender.packed_basis();
  const float bad = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + 8, &bad, sizeof(bad));
  EXPECT_EQ(pair.receiver.set_basis(bytes).code(), Code::kCorrupt);
  EXPECT_EQ(pair.receiver.state_hash(), before);
  EXPECT_EQ(pair.sender.read_sync(bytes, 0).code(), Code::kCorrupt);
  EXPECT_FALSE(pair.sender.parameters()[0].value.grad().defined());
}

TEST(Ends, TheReceiversHalfIsTheSumOverMicroBatchesAndIsTakenOnce) {
  Pair pair(
      {.projector = "free", .rank = 4, .anchor = "none", .activation = "f32", .gradient = "f32"});
  at::Tensor expected = torch::zeros({kHidden, 4});
  for (double scale : {1.0, -0.5}) {
    const at::Tensor x = scale * some_x();
    const auto out = pair.cross(x, some_ids());
    const at::Tensor t = torch::tanh(out.restored_ND);
    const at::Tensor g = 2 * t * (1 - t * t);  // of the loss of pair_for_test.h
    expected += g.t().mm(x.mm(find(pair.sender.state(), "basis").detach()));
  }
  const Bytes bytes = pair.receiver.sync(0);
  const at::Tensor half = torch::empty({kHidden, 4});
  std::memcpy(half.data_ptr(), bytes.data(), bytes.size());
  EXPECT_TRUE(torch::allclose(half, expected, 1e-5, 1e-5));
  EXPECT_EQ(pair.receiver.sync(0), Bytes(bytes.size()));
}

TEST(Ends, AOneSidedGradientIsTheSendersHalfAndNothingComesBack) {
  const Options codec{.projector = "free",
                      .rank = 4,
                      .basis_gradient = "sender",
                      .anchor = "none",
                      .activation = "f32",
                      .gradient = "f32"};
  Pair pair(codec);
  const auto out = pair.cross(some_x(), some_ids());
  EXPECT_EQ(pair.sender.read_sync_bytes(0), 0);
  ASSERT_TRUE(pair.sender.read_sync(pair.receiver.sync(0), 0).is_ok());
  const at::Tensor t = torch::tanh(out.restored_ND);
  const at::Tensor g = 2 * t * (1 - t * t);  // of the loss of pair_for_test.h
  const at::Tensor basis = pair.sender.basis();
  const at::Tensor expected = some_x().t().mm(g.mm(basis.detach()));
  EXPECT_TRUE(torch::allclose(basis.grad(), expected, 1e-5, 1e-5));
  EXPECT_GT(pair.receiver.read_sync_bytes(0), 0);  // the basis itself still comes
}

TEST(Ends, ABasisThatRestsHasNoGradientAndCrossesNothing) {
  Pair pair({.projector = "stiefel", .rank = 4, .basis_interval = 3, .anchor = "none"});
  for (uint64_t step = 0; step < 6; ++step) {
    pair.cross(some_x(), some_ids());
    const bool moves = step % 3 == 2;
    const int64_t bytes = moves ? 4 * 4 * kHidden : 0;
    EXPECT_EQ(pair.sender.read_sync_bytes(step), bytes);
    EXPECT_EQ(pair.receiver.read_sync_bytes(step), bytes);
    const Bytes half = pair.receiver.sync(step);
    EXPECT_EQ(std::ssize(half), bytes);
    EXPECT_FALSE(pair.receiver.basis().grad().defined());  // or the next step's would have it too
    ASSERT_TRUE(pair.sender.read_sync(half, step).is_ok());
    EXPECT_EQ(pair.sender.basis().grad().defined(), moves);
    EXPECT_EQ(std::ssize(pair.sender.sync(step)), bytes);
    pair.sender.abort();
  }
}

TEST(Ends, EnergyIsThatOfTheFirstMicroBatchSinceAsked) {
  for (const char* kind : {"none", "factorized", "full"}) {
    Pair pair({.projector = "stiefel", .rank = 4, .anchor = kind});
    EXPECT_TRUE(std::isnan(pair.sender.energy_kept()));
    const at::Tensor x = some_x();
    const at::Tensor basis = find(pair.sender.state(), "basis").detach();
    const auto anchor = end_options({.anchor = kind}, "sender").anchor;
    const at::Tensor residual = anchor ? x - anchor->lookup(some_ids()).detach() : x;
    const double expected =
        (residual.mm(basis).square().sum() / residual.square().sum()).item<double>();
    pair.sender.project(x, some_ids());
    pair.sender.project(torch::randn_like(x), some_ids());
    EXPECT_NEAR(pair.sender.energy_kept(), expected, 1e-5) << kind;
    EXPECT_TRUE(std::isnan(pair.sender.energy_kept()));
  }
}

TEST(Ends, EnergyOfWhatLiesInTheSubspaceIsOne) {
  Pair pair({.projector = "frozen", .rank = 4, .anchor = "none"});
  const at::Tensor basis = find(pair.sender.state(), "basis");
  pair.sender.project(torch::randn({kRows, 4}).mm(basis.t()), some_ids());
  EXPECT_NEAR(pair.sender.energy_kept(), 1.0, 1e-5);
  pair.sender.project(torch::zeros({kRows, kHidden}), some_ids());
  EXPECT_EQ(pair.sender.energy_kept(), 1.0);
  Pair identity({.projector = "identity", .anchor = "none"});
  EXPECT_EQ(identity.sender.energy_kept(), 1.0);
}

TEST(Ends, ABottleneckDoesNotClaimToKeepAnyEnergy) {
  Pair pair({.projector = "bottleneck", .rank = 4, .anchor = "none"});
  pair.sender.project(some_x(), some_ids());
  EXPECT_TRUE(std::isnan(pair.sender.energy_kept()));
}

TEST(Ends, ValuesThatAreNotFiniteDoNotLeave) {
  Pair pair(kStiefel);
  EXPECT_THROW(pair.sender.pack(torch::full({1, 4}, NAN), {}), RunError);
  EXPECT_THROW(pair.receiver.pack_gradient(torch::full({1, 4}, NAN), {}), RunError);
}

}  // namespace
}  // namespace mapl::codec
