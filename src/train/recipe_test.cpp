#include "train/recipe.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/status.h"
#include "train/fields.h"
#include "train/fields_toml.h"

namespace mapl::train {
namespace {

std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_recipe(text, "r.toml", overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

Recipe parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(text, "r.toml", overrides);
}

TEST(Recipe, IsTheDefaultsWhenTheFileIsEmpty) {
  EXPECT_EQ(diff(Recipe{}, parse("")), "");
  EXPECT_EQ(diff(Recipe{}, parse("[model]\npreset = \"tiny\"\n[boundary]\nmethod = \"mapl\"")), "");
}

TEST(Recipe, ReadsKeysOfEveryType) {
  const Recipe recipe = parse(R"(
      [model]
      tie_word_embeddings = true
      [data]
      train = "a/*.bin"
      [training]
      steps = 7
      max_norm = 1
      [pipeline]
      stages = 2
      layers_per_stage = [5, 3]
      [link]
      stages = [{endpoint = "tcp://a:1"}, {endpoint = "tcp://b:1"}]
  )");
  EXPECT_TRUE(recipe.model.tie_word_embeddings);
  EXPECT_EQ(recipe.data.train, "a/*.bin");
  EXPECT_EQ(recipe.training.steps, 7);
  EXPECT_EQ(recipe.training.max_norm, 1.0);
  EXPECT_EQ(recipe.pipeline.layers_per_stage, (std::vector<int64_t>{5, 3}));
  EXPECT_EQ(recipe.link.stages[1].endpoint, "tcp://b:1");
}

TEST(Recipe, TakesStagesAsTablesOfTheirOwn) {
  const Recipe recipe = parse(R"(
      [pipeline]
      stages = 2
      [[link.stages]]
      endpoint = "tcp://a:1"
      public_key = "0123456789012345678901234567890123456789"
      [[link.stages]]
      endpoint = "tcp://b:1"
  )");
  ASSERT_EQ(recipe.link.stages.size(), 2u);
  EXPECT_EQ(recipe.link.stages[0].public_key.size(), 40u);
  EXPECT_EQ(recipe.link.stages[1].endpoint, "tcp://b:1");
}

TEST(Recipe, LetsKeysWinOverPresetAndMethod) {
  const Recipe recipe = parse(R"(
      [model]
      vocab_size = 1000
      preset = "small"
      [boundary]
      anchor = "full"
      method = "frozen"
      activation = "int8"
  )");
  EXPECT_EQ(recipe.model.hidden_size, 256);
  EXPECT_EQ(recipe.model.vocab_size, 1000);
  EXPECT_EQ(recipe.boundary.projector, "frozen");
  EXPECT_EQ(recipe.boundary.anchor, "full");
  EXPECT_EQ(recipe.boundary.activation, "int8");
  EXPECT_EQ(recipe.boundary.gradient, "bf16");
}

// As when the effective recipe of a Run, which holds every key, is run again with another method.
TEST(Recipe, LetsAnOverriddenMethodWinOverTheKeysOfTheFile) {
  const std::string file = print(parse("[boundary]\nrank = 16"));
  const Recipe recipe =
      parse(file, {"boundary.method=quantised", "boundary.gradient=bf16", "model.preset=small"});
  EXPECT_EQ(recipe.boundary.projector, "identity");
  EXPECT_EQ(recipe.boundary.activation, "int8");
  EXPECT_EQ(recipe.boundary.gradient, "bf16");
  EXPECT_EQ(recipe.boundary.rank, 16);
  EXPECT_EQ(recipe.model.hidden_size, 256);
}

TEST(Recipe, GivesAMethodWithoutTablesNoneUnlessAsked) {
  const std::string file = "[boundary]\nngram = 2\nfirst_anchor = \"embedding\"";
  EXPECT_EQ(parse(file, {"boundary.method=uncompressed"}).boundary.ngram, 0);
  EXPECT_EQ(parse(file, {"boundary.method=uncompressed", "boundary.ngram=3"}).boundary.ngram, 3);
  EXPECT_EQ(parse("[boundary]\nngram = 2\nmethod = \"uncompressed\"").boundary.ngram, 2);
}

TEST(Recipe, TakesOverridesAsTomlOrBareWords) {
  const Recipe recipe =
      parse("[training]\nsteps = 7",
            {"training.steps=9", "pipeline.schedule=gpipe", "data.train=2020",
             "data.validation=", "data.tokenizer=\"a b\"", "pipeline.layers_per_stage=[2,2,2,2]",
             "model.tie_word_embeddings=true", "training.max_norm=1e-1",
             "checkpoint.folder=x=1\n[model]", "training.steps=8"});
  EXPECT_EQ(recipe.training.steps, 8);
  EXPECT_EQ(recipe.pipeline.schedule, "gpipe");
  EXPECT_EQ(recipe.data.train, "2020");
  EXPECT_EQ(recipe.data.validation, "");
  EXPECT_EQ(recipe.data.tokenizer, "a b");
  EXPECT_EQ(recipe.pipeline.layers_per_stage.size(), 4u);
  EXPECT_TRUE(recipe.model.tie_word_embeddings);
  EXPECT_EQ(recipe.training.max_norm, 0.1);
  EXPECT_EQ(recipe.checkpoint.folder, "x=1\n[model]");
}

TEST(Recipe, NamesTheNearestKey) {
  EXPECT_EQ(refusal("[boundary]\n\nrnk = 3"),
            "r.toml:3: unknown key boundary.rnk; did you mean boundary.rank?");
  EXPECT_EQ(refusal("[training]\nlog_freq = 3"),
            "r.toml:2: unknown key training.log_freq; did you mean metrics.log_freq?");
  EXPECT_EQ(refusal("[pipeline]\ninterval = 3").find("unknown key pipeline.interval"), 10u);
  EXPECT_EQ(refusal("[trainin]\nsteps = 3"),
            "r.toml:1: unknown section [trainin]; did you mean [training]?");
  EXPECT_EQ(refusal("[links]"), "r.toml:1: unknown section [links]; did you mean [link]?");
  EXPECT_EQ(refusal("steps = 3"),
            "r.toml:1: steps stands outside of the sections; did you mean training.steps?");
  EXPECT_EQ(refusal("", {"boundary.rnk=3"}),
            "--set boundary.rnk=3: unknown key boundary.rnk; did you mean boundary.rank?");
  EXPECT_EQ(refusal("", {"steps=3"}),
            "--set steps=3: an override is section.key=value, such as boundary.rank=64");
  EXPECT_EQ(refusal("", {"training.steps"}),
            "--set training.steps: an override is section.key=value, such as boundary.rank=64");
}

TEST(Recipe, AcceptsASectionWithoutKeys) { EXPECT_EQ(refusal("[model]"), "accepted"); }

TEST(Recipe, NamesAWrongTypeWithItsPlace) {
  EXPECT_EQ(refusal("[training]\nsteps = \"many\""),
            "r.toml:2: training.steps must be an integer, got \"many\"");
  EXPECT_EQ(refusal("[training]\nsteps = 1.5"),
            "r.toml:2: training.steps must be an integer, got 1.5");
  EXPECT_EQ(refusal("[data]\ntrain = 3"), "r.toml:2: data.train must be a string, got 3");
  EXPECT_EQ(refusal("[model]\npreset = 3"), "r.toml:2: model.preset must be a string, got 3");
  EXPECT_EQ(refusal("[model]\ntie_word_embeddings = 1"),
            "r.toml:2: model.tie_word_embeddings must be true or false, got 1");
  EXPECT_EQ(refusal("[optimizer]\nmuon_lr = []"),
            "r.toml:2: optimizer.muon_lr must be a number, got []");
  EXPECT_EQ(refusal("[pipeline]\nlayers_per_stage = 3"),
            "r.toml:2: pipeline.layers_per_stage must be a list of integers, got 3");
  EXPECT_EQ(refusal("[link]\nstages = [3]"),
            "r.toml:2: link.stages must be a list of {endpoint = \"...\", public_key = \"...\"}, "
            "got [ 3 ]");
  EXPECT_EQ(refusal("", {"training.steps=many"}),
            "--set training.steps=many: training.steps must be an integer, got \"many\"");
}

TEST(Recipe, RefusesWhatIsNotToml) {
  EXPECT_EQ(refusal("[model]\nhidden_size =").find("r.toml:2: not TOML: "), 0u)
      << refusal("[model]\nhidden_size =");
  EXPECT_NE(refusal("[training]\nsteps = 1\nsteps = 2"), "accepted");
}

TEST(Recipe, NamesAFileThatIsNotThere) {
  EXPECT_THROW(load_recipe("/no/such.toml"), UserError);
  EXPECT_THROW(load_recipe("/"), UserError);
}

// Gives every key a value of its own, then reads back what was printed.
TEST(Recipe, IsItsOwnPrint) {
  Recipe recipe = parse("", {"model.preset=small", "boundary.method=quantised"});
  EXPECT_EQ(diff(recipe, parse(print(recipe))), "");
  recipe.training.steps = 11;
  recipe.training.max_norm = 1.0 / 3.0;
  recipe.data.train = "odd \"name\" \\ \n\xc3\xa9/*.bin";
  recipe.pipeline.layers_per_stage = {1, 3, 2, 2};
  recipe.boundary.projector = "frozen";
  recipe.link.stages = {{.endpoint = "tcp://a:1"},
                        {.endpoint = "tcp://b:1", .public_key = std::string(40, 'k')},
                        {.endpoint = "tcp://c:1"},
                        {.endpoint = "tcp://d:1"}};
  EXPECT_EQ(diff(recipe, parse(print(recipe))), "");
  EXPECT_EQ(print(recipe), print(parse(print(recipe))));
}

TEST(Recipe, ShowsWhatDiffers) {
  EXPECT_EQ(diff(parse(""), parse("", {"boundary.rank=64", "link.latency_ms=10"})),
            "boundary.rank: 32 -> 64\nlink.latency_ms: 0.0 -> 10.0\n");
}

TEST(Recipe, HashesWhatStagesMustAgreeOnAndNothingElse) {
  const uint64_t base = hash(parse(""));
  EXPECT_EQ(base, hash(parse("[training]\nsteps = 400")));
  for (const char* same :
       {"data.train=x", "link.latency_ms=3", "training.threads=2", "training.init_from=x",
        "checkpoint.folder=x", "metrics.log_freq=9", "training.device=cuda"})
    EXPECT_EQ(base, hash(parse("", {same}))) << same;
  for (const char* other :
       {"model.vocab_size=4097", "training.seed=1", "optimizer.muon_lr=0.021", "boundary.rank=31",
        "pipeline.schedule=gpipe", "pipeline.in_flight=2", "validation.interval=5",
        "checkpoint.interval=5", "boundary.method=frozen"})
    EXPECT_NE(base, hash(parse("", {other}))) << other;
  // The name of a preset does not matter, what it stands for does.
  EXPECT_EQ(hash(parse("", {"model.preset=small"})),
            hash(parse("", {"model.hidden_size=256", "model.intermediate_size=688"})));
}

TEST(Recipe, LoadsEveryRecipeOfTheRepository) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MAPL_SOURCE_DIR "/recipes")) {
    EXPECT_NO_THROW(load_recipe(entry.path().string())) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace mapl::train
