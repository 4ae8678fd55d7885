#include "pipeline/reference.h"

#include <gtest/gtest.h>

#include "pipeline/two_stages_for_test.h"

namespace mapl::pipeline {
namespace {

// A model in two pieces with its optimiser, no link between them.
struct Model {
  explicit Model(const codec::Options& codec)
      : first({.config = test_config(), .span = {0, 1}, .seed = 1}),
        last({.config = test_config(), .span = {1, 1}, .seed = 1}),
        sender({.codec = codec, .boundary = 1, .hidden_size = 16, .seed = 1}),
        receiver({.codec = codec, .boundary = 1, .hidden_size = 16, .seed = 1}),
        reference({{&first, nullptr, &sender}, {&last, &receiver, nullptr}},
                  {.shape = kTestShape, .seed = 1}),
        optimizer(all_parameters(), {}) {}

  std::vector<math::Parameter> all_parameters() {
    std::vector<math::Parameter> all = sender.parameters();
    for (auto* stage : {&first, &last}) {
      for (const auto& [name, value] : stage->parameters()) {
        all.push_back({name, value, math::Rule::kAdamW});
      }
    }
    return all;
  }

  model::Stage first, last;
  codec::SenderEnd sender;
  codec::ReceiverEnd receiver;
  Reference reference;
  math::Optimizer optimizer;
};

TEST(Reference, WithALosslessBoundaryItIsTheUnsplitModel) {
  codec::Options identity = test_codec();
  identity.projector = "identity";
  Model pieces(identity);
  model::Stage whole({.config = test_config(), .span = {0, 2}, .seed = 1});
  Reference uncut({{&whole, nullptr, nullptr}}, {.shape = kTestShape, .seed = 1});
  std::vector<math::Parameter> parameters;
  for (const auto& [name, value] : whole.parameters()) {
    parameters.push_back({name, value, math::Rule::kAdamW});
  }
  math::Optimizer optimizer(parameters, {});
  for (uint64_t step = 0; step < 3; ++step) {
    const auto a =
        pieces.reference.train(pieces.optimizer, kTestMicroBatches, step, kTestTokens, 1, test_ids);
    const auto b = uncut.train(optimizer, kTestMicroBatches, step, kTestTokens, 1, test_ids);
    ASSERT_TRUE(a.is_ok() && b.is_ok());
    EXPECT_EQ(a.value().loss, b.value().loss);
    EXPECT_EQ(a.value().squared_norm, b.value().squared_norm);
  }
}

// The pipeline of two threads with a codec that rounds, against one graph with the same in place.
TEST(Reference, JudgesAPipelineToTheLastBit) {
  codec::Options codec = test_codec();
  codec.activation = "int8";
  codec.gradient = "int8";
  Model model(codec);
  TwoStages run(codec);
  for (uint64_t step = 0; step < 4; ++step) {
    const auto expected =
        model.reference.train(model.optimizer, kTestMicroBatches, step, kTestTokens, 1, test_ids);
    ASSERT_TRUE(expected.is_ok()) << expected.status().to_string();
    auto outcomes = run.train(step);
    ASSERT_TRUE(outcomes[0]->is_ok()) << outcomes[0]->status().to_string();
    EXPECT_EQ(outcomes[0]->value().loss, expected.value().loss);
    EXPECT_EQ(outcomes[0]->value().squared_norm, expected.value().squared_norm);
  }
  EXPECT_EQ(model.sender.packed_basis(), run.stages[0]->sender->packed_basis());
  for (size_t i = 0; i < model.last.parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(model.last.parameters()[i].second,
                             run.stages[1]->model.parameters()[i].second))
        << model.last.parameters()[i].first;
  }
}

TEST(Reference, AValueThatCannotBePackedIsAStatus) {
  codec::Options codec = test_codec();
  codec.activation = "int8";
  Model model(codec);
  model.first.parameters()[0].second.data().fill_(NAN);
  const auto outcome =
      model.reference.train(model.optimizer, kTestMicroBatches, 0, kTestTokens, 1, test_ids);
  ASSERT_FALSE(outcome.is_ok());
  EXPECT_EQ(outcome.status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::pipeline
