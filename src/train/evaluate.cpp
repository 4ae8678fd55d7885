#include "train/evaluate.h"

#include "train/batches.h"
#include "train/compute.h"
#include "train/reference_model.h"
#include "train/run.h"

namespace mapl::train {

Evaluation evaluate(const Recipe& recipe, const math::NamedTensors& weights,
                    const std::string& from) {
  set_compute_threads(recipe.training.threads);
  ReferenceModel model(recipe);
  for (int k = 0; k < model.num_pieces(); ++k) {
    start_from(weights, from, k, model.assembly(k));
  }
  data::Batcher batcher = open_validation_data(recipe);
  const auto num_sequences = recipe.validation.num_sequences;
  const int64_t tokens = num_sequences * recipe.training.sequence_length;
  const auto loss = model.reference().validate(
      static_cast<int>(num_sequences / recipe.training.microbatch_size), /*step=*/0,
      static_cast<double>(tokens), [&](int) { return next_ids(recipe, batcher); });
  if (!loss.is_ok()) throw RunError(loss.status());
  return {.loss = loss.value(), .tokens = tokens};
}

}  // namespace mapl::train
