// A contiguous piece of a LLaMA. A pipeline of stages computes what the unsplit model computes, to
// the last bit: every parameter starts from (seed, its global name), whatever the cut.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/block.h"
#include "model/config.h"
#include "model/ends.h"
#include "model/rotary.h"

namespace mapl::model {

// Layers [first_layer, first_layer + num_layers). The stage with layer 0 also embeds; the stage
// with the last layer also norms, projects to the vocabulary and takes the loss.
struct Span {
  int64_t first_layer = 0;
  int64_t num_layers = 0;
};

// Layers of each stage: as given, or as equal as can be, the earlier stages taking the remainder.
//   ERRORS  UserError when there are fewer layers than stages or the numbers do not add up.
std::vector<Span> cut(const Config& config, int64_t num_stages,
                      const std::vector<int64_t>& layers_per_stage = {});

// The value that the parameter `name` starts from: the same bits in every process.
//   ERRORS  UserError when the model has no such parameter.
at::Tensor initial_value(const Config& config, const std::string& name, uint64_t seed);

class Stage {
 public:
  struct Options {
    Config config;
    Span span;
    uint64_t seed = 0;
    std::string device = "cpu";
  };
  explicit Stage(const Options& options);

  bool is_first() const;
  bool is_last() const;

  // Through this stage's layers.
  //   input    first stage: ids [B, T], int64, in [0, V); others: x [B*T, D], float32
  //   returns  [B*T, D], float32, in the autograd graph of `input` and of the parameters
  //
  // backward() adds the gradients of the parameters to their grad() in place, and takes an
  // undefined grad() as zero; torch::autograd::grad() can ask for that of `input` alone
  // (model/gradient.h).
  at::Tensor forward(const at::Tensor& input, int64_t batch, int64_t sequence_length);

  // Sum of the cross entropy over all rows, divided by `divisor` (valid tokens of the global batch,
  // so that the gradients of micro-batches add up to those of the mean). Final norm, head and loss
  // in one.
  //   x_ND     what forward() returned
  //   targets  [B, T] or [B*T], int64, in [0, V)
  //   returns  scalar, float32
  // REQUIRES: is_last().
  at::Tensor loss(const at::Tensor& x_ND, const at::Tensor& targets, double divisor);

  // In the model's order, by Hugging Face's global names: model.embed_tokens.weight,
  // model.layers.<n>.self_attn.{q,k,v,o}_proj.weight, ....mlp.{gate,up,down}_proj.weight,
  // ....{input,post_attention}_layernorm.weight, model.norm.weight, lm_head.weight.
  //
  // A tied head is a tensor of its own named lm_head.weight that starts equal to the embedding,
  // also in the unsplit model: pipeline/ adds the two gradients and so keeps the copies equal,
  // wherever they live.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const;

 private:
  Options options_;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  // The tensors of parameters_ by their role.
  at::Tensor embedding_;
  std::vector<Layer> layers_;
  Head head_;
  Rotary rotary_;  // for the sequence length of the last call
};

}  // namespace mapl::model
