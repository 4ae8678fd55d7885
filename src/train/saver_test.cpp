#include "train/saver.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

Saver::Options options(const std::string& folder, int64_t keep = 0) {
  return {.root = folder + "/checkpoints", .num_stages = 1, .keep_latest_k = keep};
}

checkpoint::NamedTensors tensors(double value) { return {{"w", torch::full({100}, value)}}; }

TEST(Saver, WritesWhatStoodThereWhenItWasAsked) {
  const SmallRun place;
  Saver saver(options(place.folder()));
  auto live = tensors(1);
  saver.save(10, live);
  live[0].second.fill_(2);  // training goes on
  saver.wait();
  const auto loaded = saver.load(10);
  ASSERT_TRUE(loaded.is_ok()) << loaded.status().to_string();
  EXPECT_TRUE(torch::equal(loaded.value()[0].second, torch::full({100}, 1.0F)));
}

TEST(Saver, KeepsAsManyOlderOnesAsAskedWhileItWrites) {
  const SmallRun place;
  Saver saver(options(place.folder(), /*keep=*/2));
  for (int64_t step : {10, 20, 30, 40}) saver.save(step, tensors(1));
  saver.wait();
  EXPECT_EQ(saver.steps(), (std::vector<uint64_t>{20, 30, 40}));
}

TEST(Saver, ADamagedOneIsPassedOver) {
  const SmallRun place;
  Saver saver(options(place.folder()));
  saver.save(10, tensors(1));
  saver.save(20, tensors(2));
  saver.wait();
  {
    std::fstream file(place.folder() + "/checkpoints/step-20/stage-0.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('x');
  }
  EXPECT_EQ(saver.steps(), (std::vector<uint64_t>{10, 20}));  // hashes are looked at on loading
  EXPECT_EQ(saver.load(20).status().code(), Code::kIo);
  EXPECT_EQ(saver.steps(), (std::vector<uint64_t>{10}));
  EXPECT_TRUE(saver.load(10).is_ok());
}

TEST(Saver, ADiskThatRefusesIsToldAtTheNextCall) {
  const SmallRun place;
  std::ofstream(place.folder() + "/checkpoints") << "in the way";
  Saver saver(options(place.folder()));
  saver.save(10, tensors(1));
  EXPECT_THROW(saver.wait(), RunError);
  saver.wait();  // told once
}

}  // namespace
}  // namespace mapl::train
