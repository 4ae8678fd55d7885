#include "pipeline/worker.h"

#include <gtest/gtest.h>

#include "pipeline/two_stages_for_test.h"

namespace mapl::pipeline {
namespace {

TEST(Worker, OneStageIsPlainGradientAccumulation) {
  model::Stage stage({.config = test_config(), .span = {0, 2}, .seed = 1});
  model::Stage other({.config = test_config(), .span = {0, 2}, .seed = 1});
  Worker worker(stage, nullptr, nullptr, {.shape = kTestShape});
  const auto actions = make_schedule("1f1b", 1, kTestMicroBatches).stages[0];
  const auto loss = worker.run(actions, 0, kTestTokens, test_ids);
  ASSERT_TRUE(loss.is_ok());

  double expected = 0;
  for (int m = 0; m < kTestMicroBatches; ++m) {
    const at::Tensor ids = test_ids(m);
    const at::Tensor x = other.forward(inputs_of(ids).contiguous(), 2, 5);
    const at::Tensor part = other.loss(x, targets_of(ids).contiguous(), kTestTokens);
    part.backward();
    expected += part.item<double>();
  }
  EXPECT_EQ(loss.value(), expected);
  for (size_t i = 0; i < stage.parameters().size(); ++i) {
    EXPECT_TRUE(
        torch::equal(stage.parameters()[i].second.grad(), other.parameters()[i].second.grad()))
        << stage.parameters()[i].first;
  }
}

TEST(Worker, ForwardsAloneKeepNoGraph) {
  model::Stage stage({.config = test_config(), .span = {0, 2}, .seed = 1});
  Worker worker(stage, nullptr, nullptr, {.shape = kTestShape});
  const auto loss =
      worker.run(forward_only(1, kTestMicroBatches).stages[0], 0, kTestTokens, test_ids);
  ASSERT_TRUE(loss.is_ok());
  EXPECT_GT(loss.value(), 0);
  for (const auto& [name, value] : stage.parameters()) EXPECT_FALSE(value.grad().defined()) << name;
}

}  // namespace
}  // namespace mapl::pipeline
