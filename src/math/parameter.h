// A trainable tensor as the optimisers see it.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mapl::math {

// Which optimiser moves a tensor. kFreeBasis is Muon as far as kSpel goes in a step; kSparseAdamW
// looks only at rows that have a gradient.
enum class Rule { kMuon, kAdamW, kSpel, kFreeBasis, kSparseAdamW };

// The rows of a table that have a gradient in the step under way; all other rows of its .grad() are
// zero.
class TouchedRows {
 public:
  explicit TouchedRows(int64_t num_rows) : is_touched_(static_cast<size_t>(num_rows)) {}

  void add(int64_t row) {
    if (is_touched_[static_cast<size_t>(row)]) return;
    is_touched_[static_cast<size_t>(row)] = true;
    rows_.push_back(row);
  }
  void clear() {
    for (const int64_t row : rows_) is_touched_[static_cast<size_t>(row)] = false;
    rows_.clear();
  }
  const std::vector<int64_t>& rows() const { return rows_; }  // in the order of their first touch

 private:
  std::vector<int64_t> rows_;
  std::vector<bool> is_touched_;
};

struct Parameter {
  std::string name;  // global: the same at any number of stages
  at::Tensor value;  // a leaf; its .grad() is read by the optimiser
  Rule rule = Rule::kAdamW;
  std::shared_ptr<TouchedRows> touched = nullptr;  // of kSparseAdamW
};

// Tensors by global name, in a fixed order: what is saved, compared and hashed.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

}  // namespace mapl::math
