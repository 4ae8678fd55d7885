#include "codec/basis_restart.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "codec/pair_for_test.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

Options restarting(const std::string& projector) {
  return {.projector = projector, .rank = 4, .basis_restart = 2, .anchor = "none"};
}

// The largest principal angle between a basis and the directions that rows hold most of.
double angle_to(const at::Tensor& rows, const at::Tensor& basis) {
  const at::Tensor best = math::principal_directions(rows.t().mm(rows), basis.size(1));
  return math::principal_angles(best, basis).max().item<double>();
}

TEST(BasisRestart, TheBasisBecomesThePrincipalDirectionsOfTheStepsThatCounted) {
  for (const char* projector : {"frozen", "free", "stiefel"}) {
    Pair pair(restarting(projector));
    const at::Tensor first = some_x(), second = some_x().flip(0) * 0.7;
    pair.cross(100 * some_x().flip(1), some_ids());
    pair.abort();  // what a step that did not count has seen does not matter
    pair.cross(first, some_ids());
    pair.commit(0);
    pair.cross(second, some_ids());
    EXPECT_GT(angle_to(torch::cat({first, second}), pair.sender.basis().detach()), 0.1);
    pair.commit(1);
    EXPECT_LT(angle_to(torch::cat({first, second}), pair.sender.basis().detach()), 1e-3)
        << projector;
    EXPECT_LE(pair.sender.orthogonality_error(), 1e-6);
    EXPECT_EQ(pair.sender.state_hash(), pair.receiver.state_hash());
  }
}

TEST(BasisRestart, HappensOnce) {
  Pair pair(restarting("frozen"));
  for (uint64_t step = 0; step < 2; ++step) {
    EXPECT_EQ(pair.sender.sync_bytes(step), step == 1 ? 4 * 4 * kHidden : 0);
    EXPECT_EQ(pair.receiver.sync_bytes(step), 0);
    pair.cross(some_x(), some_ids());
    pair.commit(step);
  }
  const at::Tensor then = pair.sender.basis().clone();
  pair.cross(some_x().flip(1), some_ids());
  pair.commit(2);
  EXPECT_TRUE(torch::equal(pair.sender.basis(), then));
  EXPECT_EQ(find(pair.sender.state(), "sender.restarted").item<int64_t>(), 1);
}

// As a boundary that a resumed run has for the first time.
TEST(BasisRestart, ABoundaryThatBeginsAfterTheStepDoesNotGatherForEver) {
  Pair pair(restarting("frozen"));
  const at::Tensor start = pair.sender.basis().clone();
  for (uint64_t step : {5U, 6U}) {
    pair.cross(some_x(), some_ids());
    pair.commit(step);
    EXPECT_EQ(find(pair.sender.state(), "sender.restarted").item<int64_t>(), 1);
    EXPECT_EQ(find(pair.sender.state(), "sender.residual_moment").abs().max().item<float>(), 0);
  }
  EXPECT_TRUE(torch::equal(pair.sender.basis(), start));
}

// A mean is of columns: those of the basis that is gone say nothing of the new one's.
TEST(BasisRestart, TheMeanStartsAgainWithTheBasis) {
  Options codec = restarting("frozen");
  codec.subtract_mean = true;
  Pair pair(codec);
  const auto mean = [&] { return find(pair.sender.state(), "sender.mean").clone(); };
  const at::Tensor x = some_x() + torch::linspace(-3, 3, kHidden);
  for (uint64_t step = 0; step < 3; ++step) {
    pair.cross(x, some_ids(), {.step = step});
    pair.commit(step);
    const at::Tensor expected =
        step == 1 ? torch::zeros({4}) : x.mm(pair.sender.basis().detach()).mean(0);
    EXPECT_TRUE(torch::allclose(mean(), expected, 0, 1e-5)) << step;
    EXPECT_TRUE(torch::equal(mean(), find(pair.receiver.state(), "receiver.mean"))) << step;
    EXPECT_EQ(pair.sender.state_hash(), pair.receiver.state_hash()) << step;
  }
}

TEST(BasisRestart, WhatWasGatheredIsSaved) {
  Pair pair(restarting("stiefel"));
  pair.cross(some_x(), some_ids());
  pair.commit(0);
  const at::Tensor moment = find(pair.sender.state(), "sender.residual_moment");
  EXPECT_TRUE(torch::allclose(moment, some_x().t().mm(some_x()), 1e-4, 1e-4));
}

}  // namespace
}  // namespace mapl::codec
