#include "model/config.h"

#include <gtest/gtest.h>

#include <string>

#include "base/status.h"

namespace mapl::model {
namespace {

std::string refusal(const Config& config) {
  try {
    validate(config);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Config, TheDefaultsAreALlama) { EXPECT_EQ(refusal(Config{}), ""); }

TEST(Config, SizesThatAreNotPositiveAreRefusedByName) {
  EXPECT_NE(refusal({.vocab_size = 0}).find("vocab_size"), std::string::npos);
  EXPECT_NE(refusal({.num_hidden_layers = -1}).find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(refusal({.num_key_value_heads = 0}).find("num_key_value_heads"), std::string::npos);
  EXPECT_NE(refusal({.rms_norm_eps = 0}).find("rms_norm_eps"), std::string::npos);
}

TEST(Config, HeadsMustDivideTheWidth) {
  const std::string text = refusal({.hidden_size = 130});
  EXPECT_NE(text.find("hidden_size = 130"), std::string::npos) << text;
  EXPECT_NE(text.find("num_attention_heads = 4"), std::string::npos) << text;
}

TEST(Config, KeyValueHeadsMustDivideTheHeads) {
  const std::string text = refusal({.num_key_value_heads = 3});
  EXPECT_NE(text.find("num_key_value_heads = 3"), std::string::npos) << text;
}

TEST(Config, AHeadMustBeEven) {
  EXPECT_NE(refusal({.hidden_size = 12}).find("even"), std::string::npos);
}

}  // namespace
}  // namespace mapl::model
