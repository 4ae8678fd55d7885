#include "model/names.h"

#include <gtest/gtest.h>

namespace mapl::model {
namespace {

TEST(Names, AreThoseOfHuggingFaceInOrder) {
  const Config config{.hidden_size = 16,
                      .num_hidden_layers = 2,
                      .num_attention_heads = 4,
                      .num_key_value_heads = 2,
                      .intermediate_size = 24,
                      .vocab_size = 10};
  const auto all = parameter_shapes(config);
  ASSERT_EQ(all.size(), 1u + 2 * 9 + 2);
  EXPECT_EQ(all[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(all[1].name, "model.layers.0.input_layernorm.weight");
  EXPECT_EQ(all[2].name, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(all[15].name, "model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(all[18].name, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(all[19].name, "model.norm.weight");
  EXPECT_EQ(all[20].name, "lm_head.weight");
}

TEST(Names, KeyAndValueAreNarrowWhenHeadsAreGrouped) {
  const Config config{.hidden_size = 16,
                      .num_hidden_layers = 1,
                      .num_attention_heads = 4,
                      .num_key_value_heads = 2,
                      .intermediate_size = 24,
                      .vocab_size = 10};
  const auto layer = layer_shapes(config, 0);
  EXPECT_EQ(layer[1].shape, (std::vector<int64_t>{16, 16}));
  EXPECT_EQ(layer[2].shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(layer[3].shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(layer[8].shape, (std::vector<int64_t>{16, 24}));
}

}  // namespace
}  // namespace mapl::model
