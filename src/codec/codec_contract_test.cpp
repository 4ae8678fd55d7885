// What every projector x anchor x packing promises. The lists are the registries': a new entry
// there is in the suite.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <bit>
#include <cmath>
#include <functional>

#include "codec/pair_for_test.h"
#include "codec/projector.h"
#include "math/stiefel.h"

namespace mapl::codec {
namespace {

using Pairing = std::tuple<std::string, std::string, std::string>;

const std::string kWithNgrams = "factorized_ngrams";
const std::string kWithMean = "factorized_mean";

std::vector<std::string> all_anchors() {
  auto names = anchor_names();
  names.insert(names.end(), {kWithNgrams, kWithMean});
  return names;
}

class CodecContract : public ::testing::TestWithParam<Pairing> {
 protected:
  Options options() const {
    const std::string& anchor = std::get<1>(GetParam());
    return {.projector = std::get<0>(GetParam()),
            .rank = 4,
            .anchor = anchor.substr(0, anchor.find('_')),
            .subtract_mean = anchor == kWithMean,
            .ngram = anchor == kWithNgrams ? 3 : 0,
            .activation = std::get<2>(GetParam()),
            .gradient = std::get<2>(GetParam()),
            .group_size = 3,
            .topk = 2,
            .rvq_group_size = 2,
            .rvq_entries = 5,
            .rvq_warmup_steps = 1};
  }
  bool has_basis() const {
    return options().projector != "identity" && options().projector != "bottleneck";
  }

  at::Tensor x_ = some_x();
  at::Tensor ids_ = some_ids();
};

INSTANTIATE_TEST_SUITE_P(All, CodecContract,
                         ::testing::Combine(::testing::ValuesIn(projector_names()),
                                            ::testing::ValuesIn(all_anchors()),
                                            ::testing::ValuesIn(packing_names())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param) + "_" +
                                  std::get<2>(info.param);
                         });

TEST_P(CodecContract, ShapeSurvives) {
  Pair pair(options());
  for (int64_t rows : {kRows, int64_t{1}}) {
    const auto out = pair.cross(x_.slice(0, 0, rows), ids_.slice(0, 0, rows));
    EXPECT_EQ(out.restored_ND.sizes(), torch::IntArrayRef({rows, kHidden}));
    EXPECT_EQ(out.grad_ND.sizes(), torch::IntArrayRef({rows, kHidden}));
    EXPECT_EQ(out.restored_ND.scalar_type(), torch::kFloat);
  }
}

TEST_P(CodecContract, PayloadsHaveTheDeclaredSize) {
  Pair pair(options());
  for (int64_t rows : {kRows, int64_t{5}}) {
    const auto out = pair.cross(x_.slice(0, 0, rows), ids_.slice(0, 0, rows));
    EXPECT_EQ(static_cast<int64_t>(out.activation.size()), pair.sender.activation_bytes(rows));
    EXPECT_EQ(static_cast<int64_t>(out.activation.size()), pair.receiver.activation_bytes(rows));
    EXPECT_EQ(static_cast<int64_t>(out.gradient.size()), pair.sender.gradient_bytes(rows));
    EXPECT_EQ(static_cast<int64_t>(out.gradient.size()), pair.receiver.gradient_bytes(rows));
  }
  EXPECT_EQ(static_cast<int64_t>(pair.sender.packed_basis().size()), pair.receiver.basis_bytes());
  EXPECT_EQ(pair.sender.basis_bytes(), pair.receiver.basis_bytes());
  for (uint64_t step = 0; step < 2; ++step) {
    pair.cross(x_, ids_);
    const int64_t expected = pair.sender.read_sync_bytes(step);
    EXPECT_EQ(pair.receiver.sync_bytes(step), expected);
    const Bytes back = pair.receiver.sync(step);
    EXPECT_EQ(static_cast<int64_t>(back.size()), expected);
    ASSERT_TRUE(pair.sender.read_sync(back, step).is_ok());
    EXPECT_EQ(static_cast<int64_t>(pair.sender.sync(step).size()),
              pair.receiver.read_sync_bytes(step));
    EXPECT_EQ(pair.sender.sync_bytes(step), pair.receiver.read_sync_bytes(step));
    pair.abort();
    pair.cross(x_, ids_);
    pair.commit(step);
  }
}

TEST_P(CodecContract, EncodeIsDeterministic) {
  Pair first(options());
  Pair second(options());
  for (uint32_t micro_batch = 0; micro_batch < 2; ++micro_batch) {
    const MessageKey key{.seed = 5, .step = 3, .micro_batch = micro_batch, .boundary = 1};
    const auto a = first.cross(x_, ids_, key);
    const auto b = second.cross(x_, ids_, key);
    EXPECT_EQ(a.activation, b.activation);
    EXPECT_EQ(a.gradient, b.gradient);
    EXPECT_TRUE(torch::equal(a.grad_ND, b.grad_ND));
  }
  EXPECT_EQ(first.receiver.sync(3), second.receiver.sync(3));
}

// z = (x - a) A and x^ = z A^T + a, from the saved tensors in float64.
TEST_P(CodecContract, ValuesAreThoseOfTheFormula) {
  if (options().projector == "bottleneck") return;  // its formula: projector_test.cpp
  Pair pair(options());
  const auto anchor = [&](const math::NamedTensors& state) -> at::Tensor {
    const at::Tensor table = find(state, "anchor.table");
    if (!table.defined()) return torch::zeros({kRows, kHidden}, torch::kDouble);
    const at::Tensor rows = table.to(torch::kDouble).index_select(0, ids_);
    const at::Tensor projection = find(state, "anchor.projection");
    return projection.defined() ? rows.mm(projection.to(torch::kDouble)) : rows;
  };
  const at::Tensor sent = x_.to(torch::kDouble) - anchor(pair.sender.state());
  const at::Tensor basis = has_basis() ? find(pair.sender.state(), "basis").to(torch::kDouble)
                                       : torch::eye(kHidden, torch::kDouble);
  const at::Tensor z = pair.sender.project(x_, ids_).detach();
  // Float32 sums of 16 terms of order 1.
  EXPECT_LT((z - sent.mm(basis)).abs().max().item<double>(), 5e-6);
  const at::Tensor expected = z.to(torch::kDouble).mm(basis.t()) + anchor(pair.receiver.state());
  EXPECT_LT((pair.receiver.restore(z, ids_).detach() - expected).abs().max().item<double>(), 5e-6);
}

// Both ends in float64, joined without a packing: what is left is the maths of the boundary.
class Float64 {
 public:
  explicit Float64(Options options) : pair_(without_fit(options)) {
    for (const auto& state : {pair_.sender.state(), pair_.receiver.state()}) {
      for (auto [name, tensor] : state) {
        if (tensor.is_floating_point()) tensor.set_data(tensor.to(torch::kDouble));
      }
    }
  }

  at::Tensor loss(bool backward) {
    const at::Tensor z = pair_.sender.project(x, ids_);
    const at::Tensor leaf = z.detach().clone().requires_grad_();
    const at::Tensor loss = (torch::tanh(pair_.receiver.restore(leaf, ids_)) * weight_).sum();
    if (backward) {
      loss.backward();
      z.backward(leaf.grad());
    }
    return loss.detach();
  }

  // The derivative of the loss when each tensor moves along its direction.
  double slope(const std::vector<std::pair<at::Tensor, at::Tensor>>& moves) {
    const double h = 1e-4;
    at::NoGradGuard no_grad;
    const auto move = [&](double by) {
      for (auto [tensor, direction] : moves) tensor.add_(direction, by);
    };
    move(h);
    const double above = loss(false).item<double>();
    move(-2 * h);
    const double below = loss(false).item<double>();
    move(h);
    return (above - below) / (2 * h);
  }

  at::Tensor basis(const char* side) { return find(state(side), "basis"); }
  math::NamedTensors state(const std::string& side) {
    return side == "sender" ? pair_.sender.state() : pair_.receiver.state();
  }

  // Both halves.
  at::Tensor basis_gradient() {
    MAPL_CHECK(pair_.sender.read_sync(pair_.receiver.sync(0), 0).is_ok(), "good");
    return basis("sender").grad();
  }

  at::Tensor x = some_x().to(torch::kDouble).requires_grad_();
  Pair pair_;

 private:
  // Nothing is packed here that codebooks could be fitted to.
  static Options without_fit(Options options) {
    options.rvq_warmup_steps = 1000;
    return options;
  }

  at::Tensor ids_ = some_ids();
  at::Tensor weight_ = torch::randn({kRows, kHidden}, torch::kDouble);
};

void expect_slope(double gradient, double difference) {
  EXPECT_LT(std::abs(gradient - difference), 1e-5 * std::abs(difference) + 1e-9)
      << gradient << " against " << difference;
  EXPECT_GT(std::abs(difference), 1e-4);  // else nothing was tested
}

TEST_P(CodecContract, GradientsAreThoseOfFiniteDifferences) {
  Float64 ends(options());
  ends.loss(true);
  const auto along = [](const at::Tensor& gradient, const at::Tensor& direction) {
    return (gradient * direction).sum().item<double>();
  };
  const at::Tensor any_x = torch::randn_like(ends.x);
  expect_slope(along(ends.x.grad(), any_x), ends.slope({{ends.x, any_x}}));
  for (const char* side : {"sender", "receiver"}) {
    for (const auto& [name, table] : ends.state(side)) {
      const bool is_own = name.ends_with(".table") || name.ends_with(".weight");
      if (!is_own || !table.requires_grad()) continue;
      const at::Tensor any = torch::randn_like(table);
      expect_slope(along(table.grad(), any), ends.slope({{table, any}}));
    }
  }
  if (!has_basis() || !ends.basis("sender").requires_grad()) return;
  const at::Tensor tangent = math::tangent_projection(torch::randn({kHidden, 4}, torch::kDouble),
                                                      ends.basis("sender").detach());
  expect_slope(along(ends.basis_gradient(), tangent),
               ends.slope({{ends.basis("sender"), tangent}, {ends.basis("receiver"), tangent}}));
}

// The loss depends on A A^T alone, so the two-sided gradient is horizontal; one half is not.
TEST_P(CodecContract, TheGradientOfTheBasisDoesNotTurnItsColumns) {
  Float64 ends(options());
  if (!has_basis() || !ends.basis("sender").requires_grad()) return;
  const double before = ends.loss(true).item<double>();
  const at::Tensor basis = ends.basis("sender").detach().clone();
  const auto turning = [&](const at::Tensor& gradient) {
    const at::Tensor tangent = math::tangent_projection(gradient, basis);
    return (basis.t().mm(tangent).norm() / tangent.norm()).item<double>();
  };
  EXPECT_GT(turning(ends.basis("sender").grad()), 0.01);
  EXPECT_LT(turning(ends.basis_gradient()), 1e-5);

  at::NoGradGuard no_grad;
  const at::Tensor turn = math::random_stiefel(4, 4, 3).to(torch::kDouble);
  for (const char* side : {"sender", "receiver"}) ends.basis(side).copy_(basis.mm(turn));
  // Q is orthonormal to float32: 1e-7 of a loss of order 1.
  EXPECT_NEAR(ends.loss(false).item<double>(), before, 1e-5);
}

TEST_P(CodecContract, BothEndsAreEqualAfterEachStep) {
  Pair pair(options());
  EXPECT_EQ(pair.sender.state_hash(), pair.receiver.state_hash());
  const bool learns = !pair.sender.activation().shared().empty();
  for (uint64_t step = 0; step < 4; ++step) {
    const uint64_t before = pair.sender.state_hash();
    pair.cross(x_, ids_, {.step = step, .micro_batch = 0});
    pair.cross((step + 1.0) * x_, ids_, {.step = step, .micro_batch = 1});
    pair.commit(step);
    EXPECT_EQ(pair.sender.state_hash(), pair.receiver.state_hash());
    // In its first step a packing that learns gets its codebooks; later it may find them good.
    if (step == 0 || !learns) {
      EXPECT_EQ(pair.sender.state_hash() != before, pair.sender.sync_bytes(step) > 0 || learns);
    }
  }
}

TEST_P(CodecContract, AnAbortedStepLeavesNoTrace) {
  Pair plain(options());
  Pair aborted(options());
  for (uint64_t step = 0; step < 3; ++step) {
    aborted.cross(x_ * 3, ids_, {.step = step});
    aborted.receiver.sync(step);
    aborted.abort();
    EXPECT_EQ(aborted.sender.state_hash(), aborted.receiver.state_hash());
    EXPECT_EQ(aborted.sender.state_hash(), plain.sender.state_hash());
    for (Pair* pair : {&plain, &aborted}) {
      pair->cross(x_, ids_, {.step = step});
      pair->commit(step);
    }
  }
  for (bool sender : {true, false}) {
    const auto a = sender ? plain.sender.state() : plain.receiver.state();
    const auto b = sender ? aborted.sender.state() : aborted.receiver.state();
    for (size_t i = 0; i < a.size(); ++i)
      EXPECT_TRUE(torch::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

TEST_P(CodecContract, StateSurvivesSaveAndLoad) {
  Pair trained(options());
  for (uint64_t step = 0; step < 2; ++step) {
    trained.cross(x_, ids_, {.step = step});
    trained.commit(step);
  }
  Pair loaded(options(), /*seed=*/6);
  const auto copy = [](const math::NamedTensors& from, const math::NamedTensors& to) {
    at::NoGradGuard no_grad;
    ASSERT_EQ(from.size(), to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].first, to[i].first);
      at::Tensor value = to[i].second;
      value.copy_(from[i].second);
    }
  };
  copy(trained.sender.state(), loaded.sender.state());
  copy(trained.receiver.state(), loaded.receiver.state());
  EXPECT_EQ(loaded.sender.state_hash(), trained.sender.state_hash());
  EXPECT_EQ(loaded.receiver.state_hash(), trained.receiver.state_hash());
  // Stochastic rounding is the run's, whose seed is in the key.
  const MessageKey key{.step = 2};
  const auto a = trained.cross(x_, ids_, key);
  const auto b = loaded.cross(x_, ids_, key);
  EXPECT_EQ(a.activation, b.activation);
  EXPECT_TRUE(torch::equal(a.restored_ND, b.restored_ND));
  EXPECT_EQ(a.gradient, b.gradient);
}

TEST_P(CodecContract, AWrongLengthIsRefused) {
  Pair pair(options());
  pair.cross(x_, ids_);
  pair.commit();
  const auto out = pair.cross(x_, ids_);
  for (const bool longer : {false, true}) {
    const auto changed = [&](Bytes bytes) {
      longer ? bytes.push_back({}) : bytes.pop_back();
      return bytes;
    };
    EXPECT_EQ(pair.receiver.unpack(changed(out.activation), kRows, {}).status().code(),
              Code::kCorrupt);
    EXPECT_EQ(pair.sender.unpack_gradient(changed(out.gradient), kRows, {}).status().code(),
              Code::kCorrupt);
  }
  Bytes basis = pair.sender.packed_basis();
  basis.push_back({});
  EXPECT_EQ(pair.receiver.set_basis(basis).code(), Code::kCorrupt);
  EXPECT_EQ(pair.receiver.read_sync(basis, 0).code(), Code::kCorrupt);
  EXPECT_EQ(pair.sender.read_sync(basis, 0).code(), Code::kCorrupt);
}

TEST_P(CodecContract, AFlippedBitChangesValuesOrIsRefused) {
  // The last bits of a small value drown in the mean.
  if (options().subtract_mean && options().activation == "f32") return;
  Pair pair(options());
  pair.cross(x_, ids_);
  pair.commit();
  const Bytes good = pair.cross(x_, ids_).activation;
  const at::Tensor values = pair.receiver.unpack(good, kRows, {}).value();
  // Bits that a packing learns from show in the state after the commit.
  math::NamedTensors before;
  for (const auto& [name, tensor] : pair.receiver.state())
    before.emplace_back(name, tensor.clone());
  const auto learned = [&] {
    pair.receiver.commit();
    const uint64_t hash = pair.receiver.state_hash();
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < before.size(); ++i) {
      pair.receiver.state()[i].second.copy_(before[i].second);
    }
    return hash;
  };
  const uint64_t learned_good = learned();
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes bytes = good;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto result = pair.receiver.unpack(bytes, kRows, {});
    if (result.is_ok()) {
      const bool same =
          std::memcmp(result.value().data_ptr(), values.data_ptr(), values.nbytes()) == 0;
      EXPECT_TRUE(!same || learned() != learned_good) << bit;
      EXPECT_TRUE(result.value().isfinite().all().item<bool>()) << bit;
    } else {
      EXPECT_EQ(result.status().code(), Code::kCorrupt);
    }
  }
}

}  // namespace
}  // namespace mapl::codec
