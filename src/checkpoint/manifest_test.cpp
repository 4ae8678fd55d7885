#include "checkpoint/manifest.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <torch/torch.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "base/status.h"
#include "checkpoint/testing.h"

namespace mapl::checkpoint {
namespace {

namespace fs = std::filesystem;

NamedTensors tensors_of(int64_t stage, double value) {
  return {{fmt::format("layers.{}.weight", stage), torch::full({4, 3}, value)},
          {fmt::format("layers.{}.gain", stage), torch::full({3}, value)}};
}

void save_all(const std::string& root, int64_t step, int64_t num_stages) {
  for (int64_t stage = num_stages - 1; stage >= 0; --stage)
    save_stage(root, step, stage, num_stages, tensors_of(stage, step + stage),
               {{"recipe", "cafe"}});
}

std::string refusal(const std::string& folder) {
  try {
    load_checkpoint(folder);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(Checkpoint, GivesBackTheTensorsOfAllStages) {
  const TemporaryFolder root;
  save_all(root.path(), 20, 3);
  const Checkpoint checkpoint = load_checkpoint(root / "step-20");
  EXPECT_EQ(checkpoint.step, 20);
  EXPECT_EQ(checkpoint.num_stages, 3);
  EXPECT_EQ(checkpoint.metadata, (Metadata{{"recipe", "cafe"}}));
  ASSERT_EQ(checkpoint.tensors.size(), 6u);
  for (int64_t stage = 0; stage < 3; ++stage)
    for (int64_t i = 0; i < 2; ++i) {
      const auto expected = tensors_of(stage, 20 + stage)[i];
      EXPECT_EQ(checkpoint.tensors[2 * stage + i].first, expected.first);
      EXPECT_TRUE(torch::equal(checkpoint.tensors[2 * stage + i].second, expected.second));
    }
}

TEST(Checkpoint, CanBeWrittenAgain) {
  const TemporaryFolder root;
  save_all(root.path(), 7, 2);
  save_all(root.path(), 7, 2);
  EXPECT_EQ(load_checkpoint(root / "step-7").tensors.size(), 4u);
}

TEST(Checkpoint, IsRefusedWithAnyByteFlipped) {
  const TemporaryFolder root;
  save_all(root.path(), 5, 2);
  for (const char* name : {"stage-1.safetensors", "stage-0.json"}) {
    const std::string path = root / "step-5" + "/" + name;
    const Bytes bytes = read_bytes(path);
    for (size_t at = 0; at < bytes.size(); ++at) {
      if (std::isspace(static_cast<int>(bytes[at]))) continue;  // between JSON's words: no meaning
      Bytes altered = bytes;
      altered[at] ^= std::byte{0x04};
      write_bytes(path, altered);
      const std::string message = refusal(root / "step-5");
      EXPECT_SAYS(message, path) << at;
      EXPECT_SAYS(message, "copy it again");
    }
    write_bytes(path, bytes);
  }
  EXPECT_EQ(refusal(root / "step-5"), "accepted");
}

TEST(Checkpoint, IsRefusedWhenTruncated) {
  const TemporaryFolder root;
  save_all(root.path(), 5, 2);
  for (const char* name : {"stage-1.safetensors", "stage-0.json"}) {
    const std::string path = root / "step-5" + "/" + name;
    const Bytes bytes = read_bytes(path);
    for (size_t length = 0; length < bytes.size() - 1; ++length) {
      write_bytes(path, ByteSpan(bytes).first(length));
      EXPECT_SAYS(refusal(root / "step-5"), path) << length;
    }
    write_bytes(path, bytes);
  }
}

// Alters bytes somehow; what comes of it differs.
Bytes altered(const Bytes& bytes, std::mt19937& random) {
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  Bytes result = bytes;
  while (result == bytes) {
    const size_t begin = below(bytes.size());
    const size_t count = 1 + below(std::min<size_t>(64, bytes.size() - begin));
    const auto first = result.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = first + static_cast<std::ptrdiff_t>(count);
    switch (below(6)) {
      case 0:  // a bit
        *first ^= std::byte{1} << below(8);
        break;
      case 1:  // torn off
        result.resize(begin);
        break;
      case 2:  // a hole
        std::fill(first, last, std::byte{0});
        break;
      case 3:  // noise
        std::generate(first, last, [&] { return static_cast<std::byte>(below(256)); });
        break;
      case 4:  // gone
        result.erase(first, last);
        break;
      default: {  // twice
        const Bytes part(first, last);
        result.insert(first, part.begin(), part.end());
      }
    }
  }
  return result;
}

TEST(Checkpoint, IsRefusedHoweverItIsAltered) {
  const TemporaryFolder root;
  save_all(root.path(), 7, 2);
  save_all(root.path(), 9, 2);
  const std::string step = root / "step-9";
  const std::string parts[] = {"/stage-0.json", "/stage-0.safetensors", "/stage-1.json",
                               "/stage-1.safetensors"};
  const auto level = spdlog::get_level();
  spdlog::set_level(spdlog::level::off);  // of ten thousand warnings
  std::mt19937 random(0);
  int accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    const size_t which = random() % std::size(parts);
    const Bytes good = read_bytes(step + parts[which]);
    // One in eight is a whole file, but another: of the other stage, or of the step before.
    const std::string other =
        random() % 2 == 0 ? step + parts[(which + 2) % 4] : root / "step-7" + parts[which];
    write_bytes(step + parts[which], i % 8 == 0 ? read_bytes(other) : altered(good, random));
    accepted += refusal(step) == "accepted";
    write_bytes(step + parts[which], good);
  }
  spdlog::set_level(level);
  EXPECT_EQ(accepted, 0);
  EXPECT_EQ(refusal(step), "accepted");
}

TEST(Checkpoint, NamesAMissingStage) {
  const TemporaryFolder root;
  save_all(root.path(), 5, 3);
  fs::remove(root / "step-5/stage-1.safetensors");
  EXPECT_SAYS(refusal(root / "step-5"), "stage-1.safetensors cannot be read");
  fs::remove(root / "step-5/stage-1.json");
  EXPECT_SAYS(refusal(root / "step-5"), "stage-1.json is missing (stage 1 of 3)");
  EXPECT_SAYS(refusal(root / "step-6"), "stage-0.json is missing");
}

TEST(Checkpoint, RefusesStagesThatDisagree) {
  const TemporaryFolder root;
  const auto put = [&](int64_t num_stages, const Metadata& metadata, int64_t content = 1) {
    save_stage(root.path(), 5, 0, 2, tensors_of(0, 1.0), {{"recipe", "a"}});
    save_stage(root.path(), 5, 1, num_stages, tensors_of(content, 1.0), metadata);
    return refusal(root / "step-5");
  };
  EXPECT_EQ(put(2, {{"recipe", "a"}}), "accepted");
  EXPECT_SAYS(put(3, {{"recipe", "a"}}), "stage-1.json is of step 5 of a run of 3 stages");
  EXPECT_SAYS(put(2, {{"recipe", "b"}}), R"(another run (metadata {"recipe":"b"})");
  EXPECT_SAYS(put(2, {{"recipe", "a"}}, 0),
              "stages 0 and 1 both hold the tensor 'layers.0.weight'");

  put(2, {{"recipe", "a"}});
  fs::copy(root / "step-5", root / "step-6");
  save_stage(root.path(), 6, 0, 2, tensors_of(0, 1.0), {{"recipe", "a"}});
  EXPECT_SAYS(refusal(root / "step-6"),
              "is of step 5 of a run of 2 stages, stage-0.json of step 6");
}

TEST(Checkpoint, RefusesTheManifestOfAnotherStageOrVersion) {
  const TemporaryFolder root;
  save_all(root.path(), 5, 2);
  const std::string path = root / "step-5/stage-1.json";
  const Bytes good = read_bytes(path);
  fs::copy_file(root / "step-5/stage-0.json", path, fs::copy_options::overwrite_existing);
  EXPECT_SAYS(refusal(root / "step-5"), "it speaks of stage 0 (stage-0.safetensors)");

  auto json = nlohmann::json::parse(reinterpret_cast<const char*>(good.data()),
                                    reinterpret_cast<const char*>(good.data()) + good.size());
  json["format_version"] = 2;
  const std::string text = json.dump();
  write_bytes(path, std::as_bytes(std::span(text)));
  EXPECT_SAYS(refusal(root / "step-5"), "format version 2 is not known");
}

TEST(Checkpoint, LeavesNothingHalfWrittenWhenItsFolderCannotBe) {
  const TemporaryFolder root;
  write_bytes(root / "step-5", {});
  EXPECT_THROW(save_stage(root.path(), 5, 0, 1, tensors_of(0, 1.0)), RunError);
  EXPECT_EQ(root.names(), (std::set<std::string>{"step-5"}));
}

TEST(LatestCheckpoint, IsTheNewestThatIsComplete) {
  const TemporaryFolder root;
  EXPECT_EQ(latest_checkpoint(root / "missing"), std::nullopt);
  EXPECT_EQ(latest_checkpoint(root.path()), std::nullopt);
  save_all(root.path(), 9, 2);
  save_all(root.path(), 10, 2);
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-10");
  save_stage(root.path(), 11, 0, 2, tensors_of(0, 1.0));
  fs::create_directory(root / "step-12");
  fs::create_directory(root / "step-13x");
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-10");
  fs::resize_file(root / "step-10/stage-1.safetensors", 3);
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-9");
}

TEST(Prune, KeepsTheNewestOfEachStage) {
  const TemporaryFolder root;
  for (const int64_t step : {2, 9, 10, 11}) save_all(root.path(), step, 2);
  prune(root.path(), 0, /*before=*/12, 2);
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-11");
  EXPECT_EQ(root.names(), (std::set<std::string>{"step-2", "step-9", "step-10", "step-11"}));
  EXPECT_FALSE(fs::exists(root / "step-2/stage-0.json"));
  EXPECT_TRUE(fs::exists(root / "step-2/stage-1.json"));
  prune(root.path(), 1, /*before=*/12, 2);
  EXPECT_EQ(root.names(), (std::set<std::string>{"step-10", "step-11"}));
  EXPECT_EQ(load_checkpoint(root / "step-10").tensors.size(), 4u);
}

// Stage 0 has saved and pruned, stage 1 dies before it has saved: one complete checkpoint remains.
TEST(Prune, NeverRemovesTheLastCompleteCheckpoint) {
  const TemporaryFolder root;
  save_all(root.path(), 1, 2);
  save_all(root.path(), 2, 2);
  save_stage(root.path(), 3, 0, 2, tensors_of(0, 1.0));
  prune(root.path(), 0, /*before=*/4, 2);
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-2");
}

// A run that has gone far back saves older steps than are there.
TEST(Prune, CountsOnlyWhatCameBefore) {
  const TemporaryFolder root;
  for (const int64_t step : {100, 300, 400}) save_all(root.path(), step, 2);
  prune(root.path(), 0, /*before=*/200, 2);
  EXPECT_TRUE(fs::exists(root / "step-100/stage-0.json"));
}

// Stage 0 goes on from step 300 and saves 400 anew; stage 1 still has that of before.
TEST(SetAsideAfter, NoCheckpointIsMadeOfTwoHistories) {
  const TemporaryFolder root;
  for (const int64_t step : {300, 400}) save_all(root.path(), step, 2);
  set_aside_after(root.path(), 0, 300);
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-300");
  EXPECT_EQ(resumable_steps(root.path(), 0, 2), (std::vector<int64_t>{300}));
  set_aside_after(root.path(), 1, 300);
  save_stage(root.path(), 400, 0, 2, tensors_of(0, 2.0));
  EXPECT_EQ(latest_checkpoint(root.path()), root / "step-300");
  EXPECT_EQ(resumable_steps(root.path(), 1, 2), (std::vector<int64_t>{300}));
}

}  // namespace
}  // namespace mapl::checkpoint
