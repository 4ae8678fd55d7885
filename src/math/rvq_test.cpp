#include "math/rvq.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

constexpr RvqShape kShape = {.rounds = 2, .groups = 3, .entries = 16};
constexpr int64_t kColumns = 12;

at::Tensor rows(int64_t count, uint64_t seed = 1) {
  return gaussian(count, kColumns, seed).to(at::kFloat);
}

at::Tensor some_codebook(uint64_t seed = 2) {
  return gaussian(2 * 3 * 16, 4, seed).to(at::kFloat).view({2, 3, 16, 4});
}

double relative_error(const at::Tensor& x, const at::Tensor& codebook) {
  return ((x - rvq_decode(rvq_encode(x, codebook), codebook)).norm() / x.norm()).item<double>();
}

// Round by round in float64; 70 rows are two whole blocks of lanes and a part.
TEST(Rvq, EncodeIsGreedy) {
  const at::Tensor x = rows(70);
  const at::Tensor codebook = some_codebook();
  const at::Tensor code_NSQ = rvq_encode(x, codebook);
  at::Tensor left_NSd = x.to(at::kDouble).view({70, 3, 4});
  for (int64_t q = 0; q < 2; ++q) {
    const at::Tensor book_SCd = codebook[q].to(at::kDouble);
    const at::Tensor distance_NSC =
        (left_NSd.unsqueeze(2) - book_SCd.unsqueeze(0)).square().sum(-1);
    const at::Tensor code_NS = code_NSQ.select(2, q).to(at::kLong);
    const at::Tensor chosen = distance_NSC.gather(2, code_NS.unsqueeze(-1)).squeeze(-1);
    // Distances of order 1 in float32.
    EXPECT_LE((chosen - std::get<0>(distance_NSC.min(-1))).max().item<double>(), 1e-5);
    for (int64_t s = 0; s < 3; ++s) {
      left_NSd.select(1, s) -= book_SCd[s].index_select(0, code_NS.select(1, s));
    }
  }
}

TEST(Rvq, DecodeIsTheSumOfTheEntries) {
  const at::Tensor codebook = some_codebook();
  const at::Tensor code_NSQ = torch::randint(0, 16, {9, 3, 2}, torch::kInt);
  const at::Tensor x = rvq_decode(code_NSQ, codebook);
  for (int64_t n = 0; n < 9; ++n) {
    for (int64_t s = 0; s < 3; ++s) {
      const auto entry = [&](int64_t q) { return codebook[q][s][code_NSQ[n][s][q].item<int>()]; };
      EXPECT_TRUE(torch::equal(x[n].slice(0, 4 * s, 4 * s + 4), entry(0) + entry(1)));
    }
  }
}

TEST(Rvq, StatisticsCountWhatChoseAnEntry) {
  const at::Tensor x = rows(70);
  const at::Tensor codebook = some_codebook();
  auto statistics = RvqStatistics::zeros_like(codebook);
  const at::Tensor code_NSQ = rvq_encode(x, codebook, &statistics);
  const at::Tensor left_QSKd = rvq_residuals(x, codebook);
  for (int64_t q = 0; q < 2; ++q) {
    for (int64_t s = 0; s < 3; ++s) {
      const at::Tensor chose_NC =
          torch::one_hot(code_NSQ.select(2, q).select(1, s).to(at::kLong), 16).to(at::kFloat);
      EXPECT_TRUE(torch::equal(statistics.count_QSC[q][s], chose_NC.sum(0)));
      const at::Tensor expected = chose_NC.t().mm(left_QSKd[q][s]);
      EXPECT_TRUE(torch::allclose(statistics.sum_QSCd[q][s], expected, 0, 1e-5));
    }
  }
  EXPECT_TRUE(torch::equal(left_QSKd[0].permute({1, 0, 2}).reshape({70, kColumns}), x));
}

TEST(Rvq, NoBitDependsOnThreads) {
  const at::Tensor x = rows(200);
  const int before = at::get_num_threads();
  std::vector<at::Tensor> found;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    auto statistics = RvqStatistics::zeros_like(some_codebook());
    found.push_back(rvq_encode(x, some_codebook(), &statistics));
    found.push_back(statistics.sum_QSCd);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(torch::equal(found[0], found[2]));
  EXPECT_TRUE(torch::equal(found[1], found[3]));
}

TEST(RvqFit, FindsClustersThatAreThere) {
  const at::Tensor centres = 10 * rows(16, 5);
  const at::Tensor x = centres.repeat({20, 1}) + 0.01 * rows(320, 6);
  const at::Tensor codebook = rvq_fit(x, {.rounds = 2, .groups = 1, .entries = 16}, 3, 20);
  // Of the noise alone 0.001 is left by one round; entries that start in one cluster leave more,
  // and the second round takes most of that.
  EXPECT_LT(relative_error(x, codebook), 0.2);
  const at::Tensor one_round = codebook.narrow(0, 0, 1).contiguous();
  EXPECT_LT(relative_error(x, codebook), 0.7 * relative_error(x, one_round));
}

TEST(RvqFit, IterationsAndRoundsLowerTheError) {
  const at::Tensor x = rows(500);
  const double start = relative_error(x, rvq_fit(x, kShape, 3, 0));
  const double fitted = relative_error(x, rvq_fit(x, kShape, 3, 15));
  EXPECT_LT(fitted, 0.95 * start);
  RvqShape deeper = kShape;
  deeper.rounds = 3;
  EXPECT_LT(relative_error(x, rvq_fit(x, deeper, 3, 15)), 0.8 * fitted);
}

TEST(RvqFit, HasAnEntryForEachRowOfAFew) {
  const at::Tensor x = rows(5);
  EXPECT_LT(relative_error(x, rvq_fit(x, kShape, 3, 2)), 1e-6);
}

void feed(RvqAverage& average, const at::Tensor& x, int batches) {
  for (int i = 0; i < batches; ++i) {
    const at::Tensor codebook = average.codebook();
    auto batch = RvqStatistics::zeros_like(codebook);
    rvq_encode(x, codebook, &batch);
    average.update(batch, x.size(0), rvq_residuals(x.slice(0, 0, 20), codebook), 7);
  }
}

TEST(RvqAverage, StandsStillUntilItIsFed) {
  const RvqAverage average(some_codebook(), {});
  EXPECT_TRUE(torch::equal(average.codebook(), some_codebook()));
}

// Where the averages end is where k-means ends: each entry is the mean of what chooses it.
TEST(RvqAverage, FollowsTheData) {
  const at::Tensor x = rows(400) + 5;
  RvqAverage average(some_codebook(), {.decay = 0.5});
  feed(average, x, 60);
  EXPECT_LT(relative_error(x, average.codebook()),
            1.1 * relative_error(x, rvq_fit(x, kShape, 3, 30)));
}

// Of two equal entries the second is never chosen: it would be as dead as before.
TEST(RvqAverage, RevivesNoTwoEntriesAtOneRow) {
  at::Tensor codebook = some_codebook();
  codebook[0][0].add_(1000);
  RvqAverage average(codebook, {.decay = 0.0});
  auto batch = RvqStatistics::zeros_like(codebook);
  const at::Tensor x = rows(400);
  rvq_encode(x, codebook, &batch);
  average.update(batch, x.size(0), rvq_residuals(x.slice(0, 0, 3), codebook), 7);
  const at::Tensor count = average.averages().count_QSC[0][0];
  EXPECT_EQ((count == 1).sum().item<int64_t>(), 3) << count;
}

TEST(RvqAverage, RevivesDeadEntriesAndTheirStatistics) {
  at::Tensor codebook = some_codebook();
  codebook[0][0].add_(1000);  // no row is near these
  codebook[0][0][0].zero_();
  RvqAverage average(codebook, {.decay = 0.5});
  feed(average, rows(400), 6);
  const at::Tensor revived = average.codebook()[0][0];
  EXPECT_LT(revived.abs().max().item<double>(), 100);
  EXPECT_GT((average.averages().count_QSC[0][0] > 0.05).sum().item<int64_t>(), 12);
}

}  // namespace
}  // namespace mapl::math
