#include "math/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/status.h"
#include "math/test_matrices.h"

namespace mapl::math {
namespace {

Parameter parameter(const std::string& name, int64_t rows, int64_t columns, Rule rule) {
  auto value = rule == Rule::kSpel ? random_stiefel(rows, columns, 1)
                                   : gaussian(rows, columns, 1).to(at::kFloat);
  return {name, value.requires_grad_(), rule};
}

// Two blocks, an embedding and a basis, each with matrices of one shape.
std::vector<Parameter> model() {
  return {parameter("embed", 50, 64, Rule::kAdamW), parameter("0.q", 64, 64, Rule::kMuon),
          parameter("0.up", 172, 64, Rule::kMuon),  parameter("0.down", 64, 172, Rule::kMuon),
          parameter("basis", 64, 16, Rule::kSpel),  parameter("1.q", 64, 64, Rule::kMuon),
          parameter("1.up", 172, 64, Rule::kMuon),  parameter("head", 50, 64, Rule::kAdamW)};
}

// A gradient that depends on the name and the step alone.
void set_gradients(const std::vector<Parameter>& parameters, int step) {
  for (const auto& p : parameters) {
    const uint64_t seed = std::hash<std::string>{}(p.name) + static_cast<uint64_t>(step);
    auto value = p.value;
    value.mutable_grad() = gaussian(value.size(0), value.size(1), seed).to(at::kFloat);
  }
}

void train(Optimizer& optimizer, int first, int last) {
  for (int step = first; step < last; ++step) {
    set_gradients(optimizer.parameters(), step);
    optimizer.step(1.0 / (1 + step), 0.5);
  }
}

std::vector<Parameter> slice(const std::vector<Parameter>& all, size_t first, size_t last) {
  return {all.begin() + first, all.begin() + last};
}

void expect_equal(const std::vector<Parameter>& a, const std::vector<Parameter>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].value, b[i].value)) << a[i].name;
}

TEST(Optimizer, BitsDoNotDependOnWhatElseLivesOnTheStage) {
  const auto whole = model();
  const auto parts = model();
  Optimizer at_once(whole, {});
  train(at_once, 0, 4);
  for (size_t i = 0; i < parts.size(); ++i) {
    Optimizer alone(slice(parts, i, i + 1), {});
    train(alone, 0, 4);
  }
  expect_equal(whole, parts);
}

TEST(Optimizer, NormChainsOverStagesToTheSameBits) {
  const auto all = model();
  set_gradients(all, 3);
  const double whole = Optimizer(all, {}).add_squared_norm(0.0);
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    const double last = Optimizer(slice(all, cut, all.size()), {}).add_squared_norm(0.0);
    EXPECT_EQ(Optimizer(slice(all, 0, cut), {}).add_squared_norm(last), whole) << cut;
  }
}

TEST(Optimizer, NormIsThatOfMuonAndAdamWGradients) {
  const auto all = model();
  set_gradients(all, 3);
  double expected = 0.0;
  for (const auto& p : all) {
    if (p.rule == Rule::kSpel) continue;
    expected += p.value.grad().to(at::kDouble).square().sum().item<double>();
  }
  EXPECT_NEAR(Optimizer(all, {}).add_squared_norm(0.0), expected, 1e-12 * expected);
  const auto strided = gaussian(33, 35, 1).to(at::kFloat).t();
  auto value = at::zeros({35, 33}).requires_grad_();
  value.mutable_grad() = strided;
  EXPECT_NEAR(Optimizer({{"w", value, Rule::kAdamW}}, {}).add_squared_norm(1.0),
              1.0 + strided.to(at::kDouble).square().sum().item<double>(), 1e-9);
}

// So that a comparison of the two is one of the constraint, and not of the step.
TEST(Optimizer, AFreeBasisMovesAsFarAsOneOnTheManifold) {
  constexpr double kLr = 0.002;
  const auto all = std::vector<Parameter>{parameter("free", 64, 16, Rule::kFreeBasis),
                                          parameter("held", 64, 16, Rule::kSpel)};
  Optimizer optimizer(
      all, {.muon = {.lr = 0.5}, .spel = {.lr = kLr}, .free_basis = {.lr = kLr, .aspect = false}});
  std::vector<at::Tensor> before;
  for (const auto& p : all) before.push_back(p.value.detach().clone());
  set_gradients(all, 3);
  EXPECT_EQ(optimizer.add_squared_norm(0.0), 0.0);
  optimizer.step(1.0, 1.0);
  for (size_t i = 0; i < all.size(); ++i) {
    const at::Tensor moved = (all[i].value - before[i]).to(at::kDouble);
    const double largest = std::get<1>(at::linalg_svd(moved)).max().item<double>();
    // The polar factor is iterated to within a fifth, and starts from a momentum of one step.
    EXPECT_NEAR(largest, kLr, 0.2 * kLr) << all[i].name;
  }
}

TEST(Optimizer, GoesOnFromASavedStateToTheSameBits) {
  const auto through = model();
  Optimizer uninterrupted(through, {});
  train(uninterrupted, 0, 6);

  const auto before = model();
  Optimizer first(before, {});
  train(first, 0, 3);
  auto after = model();
  Optimizer second(after, {});
  {
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < after.size(); ++i) after[i].value.copy_(before[i].value);
  }
  second.load_state(first.state());
  train(second, 3, 6);
  expect_equal(through, after);
}

TEST(Optimizer, StateIsNamedAfterTheParameters) {
  const Optimizer optimizer({parameter("w", 4, 3, Rule::kMuon), parameter("e", 4, 3, Rule::kAdamW),
                             parameter("b", 4, 3, Rule::kSpel)},
                            {});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : optimizer.state()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"w.momentum", "e.exp_avg", "e.exp_avg_sq", "e.step",
                                             "b.momentum"}));
}

TEST(Optimizer, LoadsAllOfAStateOrNothing) {
  Optimizer optimizer({parameter("w", 4, 3, Rule::kMuon), parameter("e", 4, 3, Rule::kAdamW)}, {});
  train(optimizer, 0, 2);
  const auto kept = optimizer.state()[0].second.clone();

  Optimizer other({parameter("w", 4, 3, Rule::kMuon), parameter("e", 5, 3, Rule::kAdamW)}, {});
  EXPECT_THROW(optimizer.load_state(other.state()), UserError);  // e has another shape
  EXPECT_TRUE(at::equal(optimizer.state()[0].second, kept));
  auto more = optimizer.state();
  more.emplace_back("another.stage", at::zeros({1}));
  EXPECT_TRUE(optimizer.load_state(more).empty());
}

TEST(Optimizer, WhatAStateLacksStartsAfreshAndIsNamed) {
  Optimizer optimizer({parameter("w", 4, 3, Rule::kMuon), parameter("e", 4, 3, Rule::kAdamW)}, {});
  train(optimizer, 0, 2);
  auto state = optimizer.state();
  for (auto& [name, tensor] : state) tensor = tensor.clone();
  state.erase(state.begin());
  EXPECT_EQ(optimizer.load_state(state), (std::vector<std::string>{"w.momentum"}));
  EXPECT_EQ(optimizer.state()[0].second.abs().max().item<float>(), 0);
  EXPECT_EQ(optimizer.state()[3].second.item<int64_t>(), 2);
}

TEST(Optimizer, LeavesAParameterWithoutGradientAlone) {
  const auto parameters = model();
  Optimizer optimizer(parameters, {});
  optimizer.step(1.0, 1.0);
  expect_equal(parameters, model());
  set_gradients(parameters, 0);
  optimizer.zero_grad();
  for (const auto& p : parameters) EXPECT_FALSE(p.value.grad().defined());
  EXPECT_EQ(optimizer.add_squared_norm(2.0), 2.0);
}

TEST(Optimizer, UpdatesLeavesOfAnAutogradGraph) {
  const auto w = parameter("w", 4, 3, Rule::kMuon);
  Optimizer optimizer({w}, {});
  for (int step = 0; step < 2; ++step) {
    const double before = w.value.square().sum().item<double>();
    w.value.square().sum().backward();
    optimizer.step(1.0, 1.0);
    optimizer.zero_grad();
    EXPECT_LT(w.value.square().sum().item<double>(), before);
  }
}

TEST(ClipScale, BringsTheNormDownToTheLimit) {
  EXPECT_DOUBLE_EQ(clip_scale(16.0, 1.0), 0.25);
  EXPECT_EQ(clip_scale(0.25, 1.0), 1.0);
  EXPECT_EQ(clip_scale(16.0, 0.0), 1.0);
  EXPECT_EQ(clip_scale(0.0, 1.0), 1.0);
  EXPECT_TRUE(std::isnan(clip_scale(std::nan(""), 1.0)));
  EXPECT_TRUE(std::isnan(clip_scale(INFINITY, 1.0)));
}

Parameter sparse(const std::string& name) {
  Parameter table = parameter(name, 20, 3, Rule::kSparseAdamW);
  table.touched = std::make_shared<TouchedRows>(20);
  table.value.mutable_grad() = at::zeros({20, 3});
  return table;
}

void touch(Parameter& table, int64_t row, double by) {
  table.touched->add(row);
  table.value.mutable_grad()[row] += by;
}

// As if each row were a parameter of its own that skips the steps without a gradient, but for the
// number of steps.
TEST(SparseAdamW, MovesTouchedRowsAndNoOthers) {
  Parameter table = sparse("t");
  const at::Tensor before = table.value.detach().clone();
  Optimizer optimizer({table}, {});
  touch(table, 7, 0.5);
  touch(table, 3, -2);
  touch(table, 7, 0.25);
  // Sums of exact squares.
  EXPECT_EQ(optimizer.add_squared_norm(1.0), 1.0 + 3 * (4.0 + 0.75 * 0.75));
  optimizer.step(1.0, 1.0);

  Parameter dense = parameter("t", 20, 3, Rule::kAdamW);
  dense.value.mutable_grad() = table.value.grad().clone();
  Optimizer({dense}, {}).step(1.0, 1.0);
  for (const int64_t row : {3, 7}) EXPECT_TRUE(at::equal(table.value[row], dense.value[row]));

  optimizer.zero_grad();
  EXPECT_EQ(table.value.grad().abs().max().item<float>(), 0);
  EXPECT_TRUE(table.touched->rows().empty());
  const at::Tensor first = table.value.detach().clone();
  touch(table, 4, 1);
  optimizer.step(1.0, 1.0);
  EXPECT_TRUE(at::equal(table.value[7], first[7]));  // dense averages would move it on
  EXPECT_FALSE(at::equal(table.value[4], first[4]));
  for (const int64_t row : {0, 1, 2, 5, 19}) EXPECT_TRUE(at::equal(table.value[row], before[row]));
}

TEST(SparseAdamW, TheOrderOfTouchesChangesNoBit) {
  Parameter a = sparse("t");
  Parameter b = sparse("t");
  Optimizer first({a}, {});
  Optimizer second({b}, {});
  for (const int64_t row : {1, 9, 5}) touch(a, row, 0.1 * static_cast<double>(row));
  for (const int64_t row : {5, 1, 9}) touch(b, row, 0.1 * static_cast<double>(row));
  EXPECT_EQ(first.add_squared_norm(0), second.add_squared_norm(0));
  first.step(1.0, 1.0);
  second.step(1.0, 1.0);
  EXPECT_TRUE(at::equal(a.value, b.value));
}

}  // namespace
}  // namespace mapl::math
