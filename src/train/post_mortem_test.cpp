#include "train/post_mortem.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PostMortem, BeginsWithWhoFailedFirstAndTellsOfAll) {
  const SmallRun place;
  std::filesystem::create_directories(place.folder() + "/logs");
  std::ofstream(place.folder() + "/metrics.jsonl") << "{\"step\":6}\n{\"step\":7}\n";
  note_failure(place.folder(), {.stage = 2, .what = "the disk is full", .finished_steps = 7});
  note_failure(place.folder(), {.stage = 0, .what = "stage 1 has gone", .finished_steps = 6});
  LastBegun killed(place.folder(), 1), waiting(place.folder(), 0);
  killed.note("a longer thing than that which follows", 7, 3);
  killed.note("forward", 7, 2);
  waiting.note("wait for vote", 6, -1);
  const std::string path =
      write_post_mortem(place.folder(), {"exit code 1", "signal 9 (Killed)", "exit code 1"});
  const std::string page = text_of(path);
  const auto has = [&](const std::string& words) { return page.find(words) != std::string::npos; };
  EXPECT_TRUE(has("First was stage 2")) << page;
  EXPECT_TRUE(has("after 7 steps:\n\n    the disk is full")) << page;
  EXPECT_TRUE(has("| 1 | signal 9 (Killed) | | | forward, step 7, micro-batch 2 | nothing |"))
      << page;
  EXPECT_TRUE(has("| 6 | wait for vote, step 6 | stage 1 has gone |")) << page;
  EXPECT_TRUE(has("{\"step\":7}") && !has("{\"step\":6}")) << page;
}

TEST(PostMortem, WithoutNotesItSaysSo) {
  const SmallRun place;
  std::filesystem::create_directories(place.folder() + "/logs");
  note_failure(place.folder(), {.stage = 0, .what = "of a start before"});
  forget_failure(place.folder(), 0);
  const std::string page = text_of(write_post_mortem(place.folder(), {"signal 9 (Killed)"}));
  EXPECT_NE(page.find("No stage left word"), std::string::npos) << page;
  EXPECT_EQ(page.find("of a start before"), std::string::npos) << page;
  EXPECT_EQ(write_post_mortem("/nowhere", {"exit code 1"}), "");
}

}  // namespace
}  // namespace mapl::train
