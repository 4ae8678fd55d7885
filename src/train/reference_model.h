// The whole model of a recipe on one thread, codec applied in place: what verifies and evaluates
// runs.
#pragma once

#include <memory>
#include <vector>

#include "pipeline/reference.h"
#include "train/assembly.h"

namespace mapl::train {

// Identity without anchors and both legs float32: the boundary changes nothing.
bool is_lossless(const Recipe& recipe);

class ReferenceModel {
 public:
  // One uncut piece when the boundary is lossless, so that the judge knows nothing of cuts; else
  // the recipe's stages.
  explicit ReferenceModel(const Recipe& recipe);

  pipeline::Reference& reference() { return *reference_; }
  int num_pieces() const { return static_cast<int>(assemblies_.size()); }
  Assembly& assembly(int piece) { return *assemblies_[static_cast<size_t>(piece)]; }
  // In the model's order.
  std::vector<math::Parameter> parameters();

 private:
  std::vector<std::unique_ptr<Assembly>> assemblies_;
  std::unique_ptr<pipeline::Reference> reference_;
};

}  // namespace mapl::train
