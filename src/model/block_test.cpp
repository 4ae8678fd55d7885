#include "model/block.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "model/names.h"
#include "model/ops.h"

namespace mapl::model {
namespace {

// Values against a float64 reference: stage_test.cpp.

const Config kConfig{.hidden_size = 16,
                     .num_hidden_layers = 1,
                     .num_attention_heads = 4,
                     .num_key_value_heads = 2,
                     .intermediate_size = 20,
                     .vocab_size = 10};

Layer make_layer() {
  torch::manual_seed(3);
  std::vector<at::Tensor> p;
  for (const NamedShape& shape : layer_shapes(kConfig, 0)) {
    p.push_back((torch::randn(shape.shape) * 0.3).requires_grad_(true));
  }
  return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]};
}

TEST(Block, LeavesItsInputAndTheGradientOfItsOutputAlone) {
  const Layer layer = make_layer();
  const Rotary rotary = make_rotary(kConfig, 6, "cpu");
  const at::Tensor x = torch::randn({12, 16}), dy = torch::randn({12, 16});
  const at::Tensor x_before = x.clone(), dy_before = dy.clone();
  const at::Tensor y = block(kConfig, layer, rotary, x, 2);
  EXPECT_TRUE(y.requires_grad()) << "through the parameters";
  y.backward(dy);
  EXPECT_TRUE(x.equal(x_before));
  EXPECT_TRUE(dy.equal(dy_before));
  EXPECT_TRUE(layer.down.grad().defined());
}

TEST(Block, BackwardTwiceAddsTheSameAgain) {
  const Layer layer = make_layer();
  const Rotary rotary = make_rotary(kConfig, 6, "cpu");
  const at::Tensor x = torch::randn({12, 16}).requires_grad_(true), dy = torch::randn({12, 16});
  const at::Tensor y = block(kConfig, layer, rotary, x, 2);
  y.backward(dy, /*retain_graph=*/true);
  const at::Tensor once = layer.q.grad().clone(), dx = x.grad().clone();
  y.backward(dy);
  // A sum that starts from the first result rounds its products in another place.
  EXPECT_LE((layer.q.grad() - 2 * once).norm().item<float>(), 1e-6 * once.norm().item<float>());
  EXPECT_TRUE(x.grad().equal(2 * dx));
}

TEST(Block, AWeightThatMovedBeforeBackwardIsNoticed) {
  const Layer layer = make_layer();
  const at::Tensor y =
      block(kConfig, layer, make_rotary(kConfig, 6, "cpu"), torch::randn({6, 16}), 1);
  {
    const torch::NoGradGuard no_grad;
    layer.up.mul_(2);
  }
  EXPECT_THROW(y.sum().backward(), c10::Error);
}

}  // namespace
}  // namespace mapl::model
