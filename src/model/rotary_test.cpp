#include "model/rotary.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace mapl::model {
namespace {

TEST(Rotary, AnglesFallGeometricallyAlongTheHead) {
  const Config config{.hidden_size = 32, .num_attention_heads = 2, .rope_theta = 500.0};
  const Rotary rotary = make_rotary(config, 9, "cpu");
  ASSERT_EQ(rotary.cos_TE.sizes(), (std::vector<int64_t>{9, 8}));
  for (int64_t t = 0; t < 9; ++t) {
    for (int64_t i = 0; i < 8; ++i) {
      const double angle = static_cast<double>(t) * std::pow(500.0, -static_cast<double>(i) / 8);
      // Angles up to 8 in float32.
      EXPECT_NEAR(rotary.cos_TE[t][i].item<double>(), std::cos(angle), 2e-6);
      EXPECT_NEAR(rotary.sin_TE[t][i].item<double>(), std::sin(angle), 2e-6);
    }
  }
}

}  // namespace
}  // namespace mapl::model
