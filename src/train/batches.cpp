#include "train/batches.h"

#include <torch/torch.h>

namespace mapl::train {
namespace {

data::Batcher open(const Recipe& recipe, const std::string& paths, int64_t spread) {
  return data::Batcher(data::find_shards(paths),
                       {.sequence_length = recipe.training.sequence_length,
                        .vocab_size = recipe.model.vocab_size,
                        .seed = static_cast<uint64_t>(recipe.training.seed),
                        .spread = spread});
}

}  // namespace

data::Batcher open_training_data(const Recipe& recipe) {
  return open(recipe, recipe.data.train, 0);
}

data::Batcher open_validation_data(const Recipe& recipe) {
  return open(recipe, recipe.data.validation, recipe.validation.num_sequences);
}

at::Tensor next_ids(const Recipe& recipe, data::Batcher& batcher) {
  const int64_t batch = recipe.training.microbatch_size;
  const int64_t width = recipe.training.sequence_length + 1;
  at::Tensor ids = torch::empty({batch, width}, torch::kInt64);
  batcher.next(batch, {ids.data_ptr<int64_t>(), static_cast<size_t>(batch * width)});
  return ids;
}

}  // namespace mapl::train
