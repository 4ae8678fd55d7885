#include "data/progress.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace mapl::data {
namespace {

using namespace std::chrono_literals;

// What is written when 40 updates arrive, one a second.
std::string written(bool terminal) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  Progress progress(out, terminal);
  const Clock::time_point start{};
  progress.begin("encode", 40'000'000, start);
  for (int second = 1; second <= 40; ++second) {
    progress.update(second * 1'000'000, second * 300'000, start + second * 1s);
  }
  progress.end(40'000'000, 12'000'000, start + 40s);
  std::fclose(out);
  const std::string all(text, size);
  std::free(text);
  return all;
}

TEST(Progress, IsSparseLinesInAFile) {
  EXPECT_EQ(written(false),
            "encode         10.0 of 40.0 MB, 3.00 M tokens, 10.0 s, 1.0 MB/s\n"
            "encode         20.0 of 40.0 MB, 6.00 M tokens, 20.0 s, 1.0 MB/s\n"
            "encode         30.0 of 40.0 MB, 9.00 M tokens, 30.0 s, 1.0 MB/s\n"
            "encode         40.0 of 40.0 MB, 12.00 M tokens, 40.0 s, 1.0 MB/s\n"
            "encode         40.0 of 40.0 MB, 12.00 M tokens, 40.0 s, 1.0 MB/s\n");
}

TEST(Progress, IsOneRewrittenLineOnATerminal) {
  const std::string text = written(true);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 41);
  EXPECT_EQ(text.back(), '\n');
}

TEST(Progress, EndsALineThatIsInterrupted) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  {
    Progress progress(out, true);
    progress.begin("encode", 40, Clock::time_point{});
    progress.update(20, 0, Clock::time_point{} + 1s);
  }
  std::fclose(out);
  EXPECT_EQ(std::string(text, size).back(), '\n');
  std::free(text);
}

}  // namespace
}  // namespace mapl::data
