#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/status.h"
#include "model/presets.h"
#include "model/stage.h"

namespace mapl::model {
namespace {

double deviation(const at::Tensor& x) { return x.to(torch::kFloat64).std(false).item<double>(); }

TEST(InitialValue, HasTheDeviationsOfTheRecipe) {
  const Config config = preset("small");
  // A deviation estimated from n values is off by 1 / sqrt(2 n): 5 sigma of the smallest tensor
  // here.
  const double relative = 5 / std::sqrt(2.0 * 256 * 256);
  EXPECT_NEAR(deviation(initial_value(config, "model.embed_tokens.weight", 3)), 0.5,
              0.5 * relative);
  const double fan_in_256 = std::sqrt(0.36 / 256);
  for (const char* name :
       {"self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"}) {
    const at::Tensor x = initial_value(config, fmt::format("model.layers.2.{}.weight", name), 3);
    EXPECT_NEAR(deviation(x), fan_in_256, fan_in_256 * relative) << name;
    EXPECT_NEAR(x.mean().item<double>(), 0, 5 * fan_in_256 / 256) << name;
  }
}

TEST(InitialValue, ValuesAreGaussianInTheTails) {
  const at::Tensor x = initial_value(preset("small"), "model.embed_tokens.weight", 0) / 0.5;
  const double n = x.numel();
  for (const double z : {1.0, 2.0, 3.0}) {
    const double expected = std::erfc(z / std::sqrt(2.0));
    const double share = (x.abs() > z).to(torch::kFloat64).mean().item<double>();
    EXPECT_NEAR(share, expected, 5 * std::sqrt(expected / n)) << z;
  }
}

TEST(InitialValue, OutputsStartAtZeroAndGainsAtOne) {
  const Config config;
  for (const char* name : {"model.layers.0.self_attn.o_proj.weight",
                           "model.layers.7.mlp.down_proj.weight", "lm_head.weight"}) {
    EXPECT_EQ(initial_value(config, name, 1).abs().max().item<float>(), 0) << name;
  }
  EXPECT_TRUE(initial_value(config, "model.norm.weight", 1).equal(torch::ones(128)));
}

TEST(InitialValue, ATiedHeadIsTheEmbedding) {
  const Config config{.tie_word_embeddings = true};
  EXPECT_TRUE(initial_value(config, "lm_head.weight", 5)
                  .equal(initial_value(config, "model.embed_tokens.weight", 5)));
}

TEST(InitialValue, DependsOnSeedAndNameAlone) {
  const Config config;
  const auto q = [&](int layer, uint64_t seed) {
    return initial_value(config, fmt::format("model.layers.{}.self_attn.q_proj.weight", layer),
                         seed);
  };
  EXPECT_TRUE(q(1, 7).equal(q(1, 7)));
  EXPECT_FALSE(q(1, 7).equal(q(1, 8)));
  EXPECT_FALSE(q(1, 7).equal(q(2, 7)));
}

TEST(InitialValue, AnUnknownNameIsRefused) {
  EXPECT_THROW(initial_value({}, "model.layers.8.self_attn.q_proj.weight", 0), UserError);
}

}  // namespace
}  // namespace mapl::model
