// A trainable tensor as the optimisers see it.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace mapl::math {

// Which optimiser moves a tensor.
enum class Rule { kMuon, kAdamW, kSpel };

struct Parameter {
  std::string name;  // global: the same at any number of stages
  at::Tensor value;  // a leaf; its .grad() is read by the optimiser
  Rule rule = Rule::kAdamW;
};

// Tensors by global name, in a fixed order: what is saved, compared and hashed.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

}  // namespace mapl::math
