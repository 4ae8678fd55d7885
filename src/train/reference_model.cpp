#include "train/reference_model.h"

namespace mapl::train {

bool is_lossless(const Recipe& recipe) {
  const codec::Options& boundary = recipe.boundary;
  return boundary.projector == "identity" && boundary.anchor == "none" &&
         boundary.activation == "f32" && boundary.gradient == "f32";
}

ReferenceModel::ReferenceModel(const Recipe& recipe) {
  Recipe cut = recipe;
  if (is_lossless(recipe)) {
    cut.pipeline.stages = 1;
    cut.pipeline.layers_per_stage.clear();
  }
  std::vector<pipeline::Reference::Piece> pieces;
  for (int k = 0; k < cut.pipeline.stages; ++k) {
    assemblies_.push_back(std::make_unique<Assembly>(cut, k));
    Assembly& assembly = *assemblies_.back();
    pieces.push_back(
        {&assembly.stage(), assembly.prev_end(), assembly.next_end(), &assembly.held()});
  }
  reference_ = std::make_unique<pipeline::Reference>(
      std::move(pieces),
      pipeline::Reference::Options{.shape = micro_batch_shape(recipe),
                                   .seed = static_cast<uint64_t>(recipe.training.seed),
                                   .max_norm = recipe.training.max_norm,
                                   .tied_head = recipe.model.tie_word_embeddings,
                                   .device = recipe.training.device});
}

std::vector<math::Parameter> ReferenceModel::parameters() {
  std::vector<math::Parameter> all;
  for (const auto& assembly : assemblies_) {
    const auto part = assembly->parameters();
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace mapl::train
