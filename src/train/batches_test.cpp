#include "train/batches.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

TEST(Batches, AreTensorsOfTheRecipesShape) {
  const SmallRun small;
  const Recipe recipe = small.recipe();
  data::Batcher batcher = open_training_data(recipe);
  const at::Tensor ids = next_ids(recipe, batcher);
  EXPECT_EQ(ids.sizes(), (std::vector<int64_t>{2, 9}));
  EXPECT_EQ(batcher.position(), 2u);
  batcher.seek(0);
  EXPECT_TRUE(torch::equal(ids, next_ids(recipe, batcher)));
}

TEST(Batches, TooSmallAVocabularyIsTheUsersError) {
  const SmallRun small;
  const Recipe recipe = small.recipe({"model.vocab_size=50"});
  data::Batcher batcher = open_training_data(recipe);
  EXPECT_THROW(for (int i = 0; i < 20; ++i)(void) next_ids(recipe, batcher), UserError);
}

}  // namespace
}  // namespace mapl::train
