#include "train/assembly.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

std::map<std::string, at::Tensor> all_state(const Recipe& recipe) {
  std::map<std::string, at::Tensor> all;
  for (int k = 0; k < recipe.pipeline.stages; ++k) {
    for (const auto& [name, value] : Assembly(recipe, k).state()) {
      EXPECT_TRUE(all.emplace(name, value.detach().clone()).second) << name;
    }
  }
  return all;
}

TEST(Assembly, WeightsStartTheSameAtAnyCut) {
  const SmallRun small;
  const auto whole = all_state(small.recipe({"pipeline.stages=1"}));
  const auto cut = all_state(small.recipe({"pipeline.stages=4"}));
  EXPECT_GT(cut.size(), whole.size());  // anchors and bases
  for (const auto& [name, value] : whole) {
    ASSERT_TRUE(cut.contains(name)) << name;
    EXPECT_TRUE(torch::equal(value, cut.at(name))) << name;
  }
}

TEST(Assembly, BothEndsOfABoundaryStartFromTheSameBasis) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  Assembly first(recipe, 0), second(recipe, 1);
  EXPECT_EQ(first.prev_end(), nullptr);
  EXPECT_EQ(first.next_end()->state_hash(), second.prev_end()->state_hash());
}

TEST(Assembly, ATableSharedByAStageIsOneParameter) {
  const SmallRun small;
  const auto count = [](const Recipe& recipe) {
    Assembly assembly(recipe, 1);
    int anchors = 0;
    for (const auto& parameter : assembly.parameters()) {
      anchors += parameter.name.find("anchor") != std::string::npos;
    }
    return anchors;
  };
  EXPECT_EQ(count(small.recipe()), 2);
  EXPECT_EQ(count(small.recipe({"boundary.anchor_sharing=stage"})), 1);
}

TEST(Assembly, TheFirstSenderCanSubtractTheEmbeddingAsItIsTrained) {
  const SmallRun small;
  Assembly assembly(small.recipe({"boundary.first_anchor=embedding"}), 0);
  for (const auto& parameter : assembly.parameters()) {
    EXPECT_EQ(parameter.name.find("anchor"), std::string::npos) << parameter.name;
  }
  at::Tensor embedding_VD = assembly.stage().parameters().front().second;
  const at::Tensor ids = torch::tensor({3, 1}, torch::kLong);
  const torch::NoGradGuard no_grad;
  embedding_VD.mul_(3);
  const at::Tensor z_NR = assembly.next_end()->project(embedding_VD.index_select(0, ids), ids);
  EXPECT_EQ(z_NR.abs().max().item<float>(), 0);
}

// The control of a subspace with trained tables: the plain model with tables where that has them.
TEST(Assembly, ASubspaceAndItsControlHaveTheSameTables) {
  const SmallRun small;
  const auto anchors_of = [&](const std::vector<std::string>& keys, int stage) {
    std::vector<std::string> set = {"boundary.anchor=full", "boundary.anchor_sharing=stage"};
    set.insert(set.end(), keys.begin(), keys.end());
    Assembly assembly(small.recipe(set), stage);
    std::vector<std::string> trained;
    for (const auto& parameter : assembly.parameters()) {
      if (parameter.name.find("anchor") != std::string::npos) trained.push_back(parameter.name);
    }
    return trained;
  };
  for (int stage = 0; stage < 4; ++stage) {
    const auto held = anchors_of({"boundary.projector=subspace"}, stage);
    EXPECT_EQ(held,
              anchors_of({"boundary.projector=identity", "boundary.first_anchor=fixed"}, stage));
    EXPECT_EQ(held.size(), stage == 0 ? 0u : 1u);
  }
}

TEST(Assembly, EachBoundaryHasAnAnchorProjectionOfItsOwn) {
  const SmallRun small;
  const auto state = all_state(small.recipe());
  const at::Tensor& sender = state.at("boundary.2.sender.anchor.projection");
  EXPECT_TRUE(torch::equal(sender, state.at("boundary.2.receiver.anchor.projection")));
  EXPECT_FALSE(torch::equal(sender, state.at("boundary.4.sender.anchor.projection")));
}

TEST(Assembly, MuonMovesTheMatricesOfTheBlocksAndSpelTheBasis) {
  const SmallRun small;
  Assembly assembly(small.recipe({"pipeline.stages=2"}), 0);
  for (const auto& parameter : assembly.parameters()) {
    const bool matrix = parameter.name.find("_proj.") != std::string::npos;
    const bool basis = parameter.name.find("basis") != std::string::npos;
    EXPECT_EQ(parameter.rule, matrix  ? math::Rule::kMuon
                              : basis ? math::Rule::kSpel
                                      : math::Rule::kAdamW)
        << parameter.name;
  }
}

// Of a stage's two bases of a subspace one came over the line, from a machine that may round
// otherwise.
TEST(Assembly, BasesOfASubspaceMayDifferByRounding) {
  const SmallRun small;
  Assembly middle(small.recipe({"boundary.method=ssn"}), 1);
  const auto moved = [&](double by) {
    math::NamedTensors state;
    for (const auto& [name, value] : middle.state()) {
      state.emplace_back(name, name.ends_with("receiver.basis") ? value + by : value.clone());
    }
    return state;
  };
  EXPECT_NO_THROW((void)middle.load(moved(1e-6)));
  EXPECT_THROW((void)middle.load(moved(1e-3)), UserError);
}

TEST(Assembly, LoadSaysWhatIsMissingAndRefusesOtherShapes) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  Assembly assembly(recipe, 0);
  math::NamedTensors state = assembly.state();
  const std::string first = state.front().first;
  state.erase(state.begin());
  EXPECT_EQ(assembly.load(state), std::vector<std::string>{first});
  state.front().second = torch::zeros({3});
  EXPECT_THROW((void)assembly.load(state), UserError);
}

}  // namespace
}  // namespace mapl::train
