#include "math/rvq_kernels.h"

#include <gtest/gtest.h>

#include "math/test_matrices.h"

namespace mapl::math {
namespace {

class NearestEntries : public testing::TestWithParam<int64_t> {};

// Widths that the kernel knows and some that it does not, against distances in float64.
INSTANTIATE_TEST_SUITE_P(Widths, NearestEntries, testing::Values(1, 3, 4, 8, 16, 20));

TEST_P(NearestEntries, HaveTheLeastDistance) {
  const int64_t width = GetParam();
  const int64_t entries = 37;
  const at::Tensor e_dL = gaussian(width, kRvqLanes, 1).to(at::kFloat);
  const at::Tensor book_Cd = gaussian(entries, width, 2).to(at::kFloat);
  const at::Tensor norms_C = book_Cd.square().sum(1).mul(0.5);
  alignas(64) float lanes[20 * kRvqLanes];
  std::copy_n(e_dL.data_ptr<float>(), width * kRvqLanes, lanes);
  int32_t codes[kRvqLanes];
  nearest_entries(lanes, book_Cd.data_ptr<float>(), norms_C.data_ptr<float>(), entries, width,
                  codes);
  const at::Tensor distance_LC =
      (e_dL.t().unsqueeze(1) - book_Cd.unsqueeze(0)).to(at::kDouble).square().sum(-1);
  const at::Tensor least_L = std::get<0>(distance_LC.min(1));
  for (int64_t lane = 0; lane < kRvqLanes; ++lane) {
    // Two entries whose distances differ by float32's rounding may be taken for each other.
    EXPECT_LE(distance_LC[lane][codes[lane]].item<double>(), least_L[lane].item<double>() + 1e-5)
        << lane;
  }
}

TEST(NearestEntries, OfEqualOnesIsTheFirst) {
  alignas(64) float lanes[2 * kRvqLanes] = {};
  const float book[] = {3, 3, 1, 0, 0, 1, 1, 0};
  const float norms[] = {9, 0.5, 0.5, 0.5};
  int32_t codes[kRvqLanes];
  nearest_entries(lanes, book, norms, 4, 2, codes);
  for (const int32_t code : codes) EXPECT_EQ(code, 1);
}

}  // namespace
}  // namespace mapl::math
