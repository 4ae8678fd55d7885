#include <gtest/gtest.h>

#include <cmath>

#include "base/status.h"
#include "train/fields.h"
#include "train/recipe.h"

namespace mapl::train {
namespace {

std::string refusal(const Recipe& recipe) {
  try {
    validate(recipe);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal_of(const std::vector<std::string>& overrides) {
  try {
    parse_recipe("", "r.toml", overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

// What is refused must name the keys and values; `parts` are some of both.
void expect_refused(const std::vector<std::string>& overrides,
                    const std::vector<std::string>& parts) {
  const std::string message = refusal_of(overrides);
  EXPECT_NE(message, "accepted") << overrides[0];
  for (const std::string& part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
}

TEST(Validate, AcceptsTheDefaults) { EXPECT_EQ(refusal(Recipe{}), "accepted"); }

TEST(Validate, RefusesARankAboveTheWidth) {
  expect_refused({"boundary.rank=129"}, {"rank", "129", "128"});
  expect_refused({"boundary.anchor_rank=129"}, {"anchor_rank", "129", "128"});
  EXPECT_EQ(refusal_of({"boundary.rank=128"}), "accepted");
}

TEST(Validate, RefusesLayersThatDoNotFitTheStages) {
  expect_refused({"pipeline.stages=9"}, {"pipeline.stages", "9", "num_hidden_layers", "8"});
  expect_refused({"pipeline.layers_per_stage=[2,2,2,3]"}, {"layers_per_stage", "2, 2, 2, 3", "8"});
  expect_refused({"pipeline.layers_per_stage=[4,4]"}, {"layers_per_stage", "4, 4"});
  expect_refused({"pipeline.layers_per_stage=[8,0,0,0]"}, {"layers_per_stage", "0"});
}

TEST(Validate, RefusesAVocabularyBeyond16Bits) {
  expect_refused({"model.vocab_size=65537"}, {"model.vocab_size", "65537", "65536"});
  EXPECT_EQ(refusal_of({"model.vocab_size=65536"}), "accepted");
}

TEST(Validate, RefusesHeadsThatDoNotDivide) {
  expect_refused({"model.num_attention_heads=3"},
                 {"hidden_size", "128", "num_attention_heads", "3"});
  expect_refused({"model.num_key_value_heads=3"}, {"num_key_value_heads", "3", "4"});
}

TEST(Validate, RefusesMicroBatchesThatDoNotDivideTheBatch) {
  expect_refused({"training.microbatch_size=3"},
                 {"training.microbatch_size = 3", "training.global_batch_size = 16"});
}

TEST(Validate, RefusesUnknownWords) {
  for (const char* key :
       {"pipeline.schedule", "training.decay", "training.device", "link.meter", "link.kind",
        "model.preset", "boundary.method", "boundary.projector", "boundary.anchor",
        "boundary.anchor_sharing", "boundary.activation", "boundary.gradient"}) {
    const std::string short_name = std::string(key).substr(std::string(key).find('.') + 1);
    expect_refused({std::string(key) + "=odd"}, {short_name, "odd"});
  }
}

// Whatever number of the recipe: one below its least, one above its most, and NaN are refused by
// name.
TEST(Validate, RefusesEveryNumberOutOfItsRange) {
  Recipe recipe;
  int checked = 0;
  const auto expect_named = [&](const Field& field) {
    EXPECT_NE(refusal(recipe).find(field.name()), std::string::npos)
        << field.name() << ": " << refusal(recipe);
    ++checked;
  };
  for (const Field& field : fields(recipe)) {
    const Recipe before = recipe;
    if (auto* const* number = std::get_if<int64_t*>(&field.target)) {
      **number = static_cast<int64_t>(field.rules.least) - 1;
      expect_named(field);
      if (std::isfinite(field.rules.most)) {
        **number = static_cast<int64_t>(field.rules.most) + 1;
        expect_named(field);
      }
    }
    if (auto* const* number = std::get_if<double*>(&field.target))
      for (const double bad : {field.rules.least - 1e-3, field.rules.most + 1.0, std::nan(""),
                               std::numeric_limits<double>::infinity()}) {
        **number = bad;
        expect_named(field);
      }
    recipe = before;
  }
  EXPECT_GT(checked, 80);
}

TEST(Validate, RefusesZeroWhereNothingWouldHappen) {
  for (const char* key :
       {"training.steps", "training.sequence_length", "training.global_batch_size",
        "training.microbatch_size", "training.threads", "pipeline.stages", "boundary.rank",
        "boundary.group_size", "metrics.log_freq", "validation.num_sequences",
        "link.connect_seconds", "link.timeout_seconds"})
    expect_refused({std::string(key) + "=0"}, {key, "0"});
}

TEST(Validate, RefusesToKeepOneCheckpoint) {
  expect_refused({"checkpoint.keep_latest_k=1"}, {"checkpoint.keep_latest_k = 1"});
  expect_refused({"checkpoint.folder="}, {"checkpoint.folder"});
  EXPECT_EQ(refusal_of({"checkpoint.keep_latest_k=0"}), "accepted");
}

TEST(Validate, RefusesEndpointsThatDoNotFit) {
  Recipe recipe;
  recipe.pipeline.stages = 2;
  recipe.link.stages = {{.endpoint = "tcp://a:1"},
                        {.endpoint = "tcp://b:1", .public_key = std::string(40, 'k')}};
  EXPECT_EQ(refusal(recipe), "accepted");

  Recipe bad = recipe;
  bad.pipeline.stages = 3;
  EXPECT_EQ(refusal(bad),
            "link.stages lists 2 stages, pipeline.stages = 3: give one endpoint for each stage");
  bad = recipe;
  bad.link.kind = "inproc";
  EXPECT_NE(refusal(bad).find("remove link.stages"), std::string::npos) << refusal(bad);
  bad.link.kind = "c10d";
  EXPECT_NE(refusal(bad).find("from the launcher"), std::string::npos) << refusal(bad);
  bad = recipe;
  bad.link.stages[1].endpoint = "b:1";
  EXPECT_NE(refusal(bad).find("link.stages[1].endpoint = \"b:1\""), std::string::npos);
  bad = recipe;
  bad.link.stages[1].endpoint = "";
  EXPECT_NE(refusal(bad).find("neither end of the boundary between stages 0 and 1 listens: give "
                              "link.stages[1].endpoint"),
            std::string::npos)
      << refusal(bad);
  bad.link.stages[0].next_endpoint = "tcp://a:2";
  EXPECT_EQ(refusal(bad), "accepted");
  bad = recipe;
  bad.link.stages[1].public_key = "short";
  EXPECT_NE(refusal(bad).find("link.stages[1].public_key has 5 characters, a key has 40"),
            std::string::npos);
}

}  // namespace
}  // namespace mapl::train
