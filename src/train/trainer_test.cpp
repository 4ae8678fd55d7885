#include "train/trainer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <chrono>
#include <thread>

#include "train/small_run_for_test.h"
#include "train/stage_group.h"

namespace mapl::train {
namespace {

TEST(Trainer, LossFallsOnTextThatCanBeLearned) {
  const SmallRun small;
  StageGroup group(small.recipe({"training.steps=40"}));
  std::vector<double> losses;
  const Status status = group.run([&](int stage, Assembly&, Trainer& trainer) {
    for (int64_t step = 0; step < 40; ++step) {
      const auto outcome = trainer.train(step, false);
      if (!outcome.is_ok()) return outcome.status();
      if (stage == 0) losses.push_back(outcome.value().loss);
    }
    return Status::ok();
  });
  ASSERT_TRUE(status.is_ok()) << status.to_string();
  EXPECT_NEAR(losses.front(), std::log(97), 0.5);  // an untrained model knows nothing
  EXPECT_LT(losses.back(), losses.front() - 1);
  for (const auto& [name, value] : group.trainer(0).state()) {
    if (name == "data.position") {
      EXPECT_EQ(value.item<int64_t>(), 40 * 8);
    }
  }
}

TEST(Trainer, NeighboursWithAnotherRecipeAreRefused) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=2"});
  const Recipe other = small.recipe({"pipeline.stages=2", "optimizer.muon_lr=0.03"});
  std::vector<std::unique_ptr<Assembly>> assemblies;
  assemblies.push_back(std::make_unique<Assembly>(recipe, 0));
  assemblies.push_back(std::make_unique<Assembly>(other, 1));
  auto links = make_inproc_links(recipe, assemblies);
  Trainer first(recipe, 0, *assemblies[0]), second(other, 1, *assemblies[1]);
  first.connect(nullptr, links[0].next.get());
  second.connect(links[1].prev.get(), nullptr);
  Status heard;
  {
    const std::jthread peer([&] { heard = second.greet().status(); });
    const Status status = first.greet().status();
    EXPECT_EQ(status.code(), Code::kRefused) << status.to_string();
    EXPECT_NE(status.message().find("recipe"), std::string::npos) << status.message();
  }
  EXPECT_EQ(heard.code(), Code::kRefused) << heard.to_string();
}

// A neighbour that is there and waits for others in its turn: that may take link.rejoin_seconds.
TEST(Trainer, ComingTogetherEndsWhenAskedTo) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=2"});
  std::vector<std::unique_ptr<Assembly>> assemblies;
  for (const int k : {0, 1}) assemblies.push_back(std::make_unique<Assembly>(recipe, k));
  auto links = make_inproc_links(recipe, assemblies);
  Trainer first(recipe, 0, *assemblies[0]);
  first.connect(nullptr, links[0].next.get());
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(first.greet({}, stop.get_token()).status().code(), Code::kClosed);
}

// From the agreement on all are there: who left now could have another step than the others.
TEST(Trainer, WhoHasAgreedOnAStepStaysWhenAskedToStop) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=2"});
  std::vector<std::unique_ptr<Assembly>> assemblies;
  for (const int k : {0, 1}) assemblies.push_back(std::make_unique<Assembly>(recipe, k));
  auto links = make_inproc_links(recipe, assemblies);
  Trainer first(recipe, 0, *assemblies[0]), second(recipe, 1, *assemblies[1]);
  first.connect(nullptr, links[0].next.get());
  second.connect(links[1].prev.get(), nullptr);
  std::stop_source stop;
  const Saved saved{.validates = [&](uint64_t) {
    stop.request_stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // the second waits meanwhile
    return false;
  }};
  Status other;
  {
    const std::jthread peer([&] { other = second.greet({}, stop.get_token()).status(); });
    const Status status = first.greet(saved, stop.get_token()).status();
    EXPECT_TRUE(status.is_ok()) << status.to_string();
  }
  EXPECT_TRUE(other.is_ok()) << other.to_string();
}

TEST(Trainer, ComingTogetherEndsWhenTheOtherNeighbourGoes) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=3"});
  std::vector<std::unique_ptr<Assembly>> assemblies;
  for (const int k : {0, 1, 2}) assemblies.push_back(std::make_unique<Assembly>(recipe, k));
  auto links = make_inproc_links(recipe, assemblies);
  Trainer middle(recipe, 1, *assemblies[1]);
  middle.connect(links[1].prev.get(), links[1].next.get());
  links[2].prev.reset();
  EXPECT_EQ(middle.greet().status().code(), Code::kPeerLost);
}

// Of a file that somebody made: numbers that are not there are not read.
TEST(Trainer, ACheckpointWithTooFewNumbersIsRefused) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"pipeline.stages=1"});
  Assembly assembly(recipe, 0);
  Trainer trainer(recipe, 0, assembly);
  const math::NamedTensors good = trainer.state();
  trainer.load_state(good, 0);
  for (const char* name : {"stage.0.commit", "data.position"}) {
    for (const at::Tensor& bad :
         {torch::zeros({0}, torch::kDouble), torch::zeros({1}, torch::kFloat)}) {
      math::NamedTensors altered = good;
      for (auto& [key, value] : altered) {
        if (key == name) value = bad;
      }
      EXPECT_THROW(trainer.load_state(altered, 0), UserError) << name;
    }
  }
}

}  // namespace
}  // namespace mapl::train
