#include "model/stage.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/status.h"
#include "model/presets.h"
#include "model/reference_for_test.h"

namespace mapl::model {
namespace {

using Named = std::map<std::string, at::Tensor>;

// Values away from the initial ones, whose zeros would hide most gradients.
void disturb(const Stage& stage) {
  torch::NoGradGuard no_grad;
  for (const auto& [name, value] : stage.parameters()) {
    torch::manual_seed(std::hash<std::string>{}(name));
    value.add_(torch::randn_like(value), value.dim() == 1 ? 0.2 : 0.08);
  }
}

std::vector<Stage> make_stages(const Config& config, int64_t num_stages) {
  std::vector<Stage> stages;
  for (const Span& span : cut(config, num_stages)) {
    stages.emplace_back(Stage::Options{.config = config, .span = span, .seed = 11});
    disturb(stages.back());
  }
  return stages;
}

struct Batch {
  at::Tensor ids, targets;  // [B, T]
};

Batch make_batch(const Config& config, int64_t b, int64_t t, int64_t seed) {
  torch::manual_seed(seed);
  return {torch::randint(config.vocab_size, {b, t}, torch::kInt64),
          torch::randint(config.vocab_size, {b, t}, torch::kInt64)};
}

// One micro-batch through all stages, detached at every cut as in a pipeline. Returns the loss.
at::Tensor train(std::vector<Stage>& stages, const Batch& batch, double divisor) {
  const int64_t b = batch.ids.size(0), t = batch.ids.size(1);
  std::vector<at::Tensor> inputs, outputs;
  at::Tensor x = batch.ids;
  for (Stage& stage : stages) {
    if (!stage.is_first()) x = x.detach().requires_grad_(true);
    inputs.push_back(x);
    x = stage.forward(x, b, t);
    outputs.push_back(x);
  }
  const at::Tensor loss = stages.back().loss(x, batch.targets, divisor);
  loss.backward();
  for (size_t s = stages.size() - 1; s-- > 0;) outputs[s].backward(inputs[s + 1].grad());
  return loss.detach();
}

Named gradients(const std::vector<Stage>& stages) {
  Named all;
  for (const Stage& stage : stages) {
    for (const auto& [name, value] : stage.parameters()) all[name] = value.grad();
  }
  return all;
}

// Loss and gradients against the reference in double precision.
void expect_matches_reference(const Config& config, int64_t b, int64_t t) {
  std::vector<Stage> stages = make_stages(config, 1);
  reference::Parameters exact;
  for (const auto& [name, value] : stages[0].parameters()) {
    exact[name] = value.detach().to(torch::kFloat64).requires_grad_(true);
  }
  const Batch batch = make_batch(config, b, t, b * 1000 + t);
  const double divisor = 3.0 * b * t;
  const at::Tensor loss = train(stages, batch, divisor);
  const at::Tensor expected = reference::loss(config, exact, batch.ids, batch.targets, divisor);
  expected.backward();
  // float32 carries 6e-8; sums of a few hundred products and the float32 rotary angles (up to T =
  // 300 radians: 2e-5) leave 1e-5 of the loss and 1e-4 of the norm of a gradient.
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-5 * expected.item<double>());
  double squared_norm = 0;
  for (const auto& [name, value] : exact) {
    squared_norm += value.grad().square().sum().item<double>();
  }
  const double rounding = 1e-6 * std::sqrt(squared_norm);
  for (const auto& [name, gradient] : gradients(stages)) {
    const at::Tensor want = exact[name].grad();
    ASSERT_TRUE(gradient.defined()) << name;
    const double error = (gradient.to(torch::kFloat64) - want).norm().item<double>();
    EXPECT_LE(error, 1e-4 * want.norm().item<double>() + rounding) << name;
  }
}

const Config kSmallest{.hidden_size = 32,
                       .num_hidden_layers = 2,
                       .num_attention_heads = 4,
                       .num_key_value_heads = 4,
                       .intermediate_size = 44,
                       .vocab_size = 50};

Config grouped(int64_t num_key_value_heads) {
  Config config = kSmallest;
  config.num_key_value_heads = num_key_value_heads;
  return config;
}

TEST(Stage, MatchesTheReference) { expect_matches_reference(kSmallest, 3, 20); }
TEST(Stage, MatchesTheReferenceOnOneToken) { expect_matches_reference(kSmallest, 1, 1); }
TEST(Stage, MatchesTheReferenceOnManySingleTokens) { expect_matches_reference(kSmallest, 5, 1); }
TEST(Stage, MatchesTheReferenceWithGroupedHeads) { expect_matches_reference(grouped(2), 2, 33); }
TEST(Stage, MatchesTheReferenceWithOneKeyValueHead) { expect_matches_reference(grouped(1), 1, 65); }
TEST(Stage, MatchesTheReferenceOnLongSequences) { expect_matches_reference(grouped(2), 1, 300); }
TEST(Stage, MatchesTheReferenceOnTheTinyPreset) {
  expect_matches_reference(preset("tiny"), 2, 130);
}

TEST(Stage, MatchesTheReferenceWithATiedHead) {
  Config config = kSmallest;
  config.tie_word_embeddings = true;
  expect_matches_reference(config, 2, 17);
  const Stage stage({.config = config, .span = {0, 2}, .seed = 3});
  EXPECT_TRUE(stage.parameters().front().second.equal(stage.parameters().back().second));
}

// A slope measured by moving one parameter along a random direction, in float32: the loss carries
// about 1e-7 and the step is 1e-2, so a slope near 1e-1 is known to about 1e-3 of itself; curvature
// adds more.
TEST(Stage, GradientsAreSlopes) {
  std::vector<Stage> stages = make_stages(grouped(2), 1);
  const Batch batch = make_batch(kSmallest, 2, 19, 5);
  train(stages, batch, 38);
  for (const auto& [name, value] : stages[0].parameters()) {
    const at::Tensor direction = value.grad() / value.grad().norm();
    const auto loss_at = [&](double step) {
      torch::NoGradGuard no_grad;
      const at::Tensor kept = value.clone();
      value.add_(direction, step);
      const at::Tensor x = stages[0].forward(batch.ids, 2, 19);
      const double loss = stages[0].loss(x, batch.targets, 38).item<double>();
      value.copy_(kept);
      return loss;
    };
    const double slope = (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2;
    const double expected = value.grad().norm().item<double>();
    EXPECT_NEAR(slope, expected, 0.02 * expected + 1e-4) << name;
  }
}

TEST(Stage, BitsDoNotDependOnTheCut) {
  const Config config = preset("tiny");
  std::vector<Stage> whole = make_stages(config, 1);
  std::vector<at::Tensor> losses;
  for (int64_t m = 0; m < 3; ++m) losses.push_back(train(whole, make_batch(config, 2, 40, m), 240));
  const Named expected = gradients(whole);
  for (const int64_t num_stages : {2, 4, 8}) {
    std::vector<Stage> stages = make_stages(config, num_stages);
    for (int64_t m = 0; m < 3; ++m) {
      const at::Tensor loss = train(stages, make_batch(config, 2, 40, m), 240);
      EXPECT_TRUE(loss.equal(losses[m])) << num_stages << " stages, micro-batch " << m;
    }
    const Named found = gradients(stages);
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, gradient] : expected) {
      EXPECT_TRUE(found.at(name).equal(gradient)) << num_stages << " stages: " << name;
    }
  }
}

TEST(Stage, MicrobatchesAddUpToTheBatch) {
  const Batch batch = make_batch(kSmallest, 4, 24, 9);
  std::vector<Stage> once = make_stages(kSmallest, 1), twice = make_stages(kSmallest, 1);
  train(once, batch, 96);
  for (const int64_t begin : {0, 2}) {
    train(twice, {batch.ids.narrow(0, begin, 2), batch.targets.narrow(0, begin, 2)}, 96);
  }
  const Named expected = gradients(once);
  for (const auto& [name, gradient] : gradients(twice)) {
    // Two sums of the same float32 products in another order.
    EXPECT_LE((gradient - expected.at(name)).norm().item<float>(),
              1e-5 * expected.at(name).norm().item<float>())
        << name;
  }
}

TEST(Stage, ForwardUnderNoGradGivesTheSameLoss) {
  std::vector<Stage> stages = make_stages(kSmallest, 1);
  const Batch batch = make_batch(kSmallest, 2, 8, 1);
  const at::Tensor expected = train(stages, batch, 16);
  torch::NoGradGuard no_grad;
  const at::Tensor x = stages[0].forward(batch.ids, 2, 8);
  const at::Tensor loss = stages[0].loss(x, batch.targets, 16);
  EXPECT_FALSE(loss.requires_grad());
  EXPECT_TRUE(loss.equal(expected));
}

TEST(Stage, TheLossMayBeScaled) {
  std::vector<Stage> plain = make_stages(kSmallest, 1), scaled = make_stages(kSmallest, 1);
  const Batch batch = make_batch(kSmallest, 2, 8, 1);
  train(plain, batch, 16);
  const at::Tensor x = scaled[0].forward(batch.ids, 2, 8);
  (scaled[0].loss(x, batch.targets, 16) * 4).backward();
  const Named expected = gradients(plain);
  // A power of two scales every float32 exactly.
  for (const auto& [name, gradient] : gradients(scaled)) {
    EXPECT_TRUE(gradient.equal(expected.at(name) * 4)) << name;
  }
}

TEST(Cut, EarlierStagesTakeTheRemainder) {
  const auto spans = cut(Config{.num_hidden_layers = 8}, 3);
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[0].num_layers, 3);
  EXPECT_EQ(spans[1].first_layer, 3);
  EXPECT_EQ(spans[1].num_layers, 3);
  EXPECT_EQ(spans[2].first_layer, 6);
  EXPECT_EQ(spans[2].num_layers, 2);
}

TEST(Cut, TakesUnequalCounts) {
  const auto spans = cut(Config{.num_hidden_layers = 8}, 3, {1, 5, 2});
  EXPECT_EQ(spans[1].first_layer, 1);
  EXPECT_EQ(spans[2].first_layer, 6);
}

TEST(Cut, RefusesWhatDoesNotFit) {
  const Config config{.num_hidden_layers = 8};
  EXPECT_THROW(cut(config, 9), UserError);
  EXPECT_THROW(cut(config, 0), UserError);
  EXPECT_THROW(cut(config, 2, {4, 3}), UserError);
  EXPECT_THROW(cut(config, 2, {8, 0}), UserError);
  EXPECT_THROW(cut(config, 2, {4, 2, 2}), UserError);
}

}  // namespace
}  // namespace mapl::model
