// The recipe's data as tensors. Only stage 0 reads data; the others get token ids with the
// activations.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/batcher.h"
#include "train/recipe.h"

namespace mapl::train {

// ERRORS  UserError about the shards.
data::Batcher open_training_data(const Recipe& recipe);
data::Batcher open_validation_data(const Recipe& recipe);

// The ids of the next micro-batch, [B, T + 1], int64, on the CPU.
at::Tensor next_ids(const Recipe& recipe, data::Batcher& batcher);

}  // namespace mapl::train
