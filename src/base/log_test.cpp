#include "base/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/status.h"

namespace mapl {
namespace {

TEST(Log, LinesReachTheFile) {
  const auto path = std::filesystem::temp_directory_path() / "mapl_log_test.log";
  std::filesystem::remove(path);
  log_to_terminal();
  log_to_file(path.string(), 3);
  spdlog::info("a \"word\"\nof \xff stage {}", 2);
  std::ifstream file(path);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["level"], "info");
  EXPECT_EQ(lines[0]["stage"], 3);
  EXPECT_EQ(lines[0]["what"], "a \"word\"\nof \xEF\xBF\xBD stage 2");
  EXPECT_GT(lines[0]["_timestamp"].get<double>(), 1.7e9);
  std::filesystem::remove(path);
}

TEST(Log, AFolderThatCannotBeWrittenIsTheUsersError) {
  EXPECT_THROW(log_to_file("/proc/nowhere/stage.log"), UserError);
}

}  // namespace
}  // namespace mapl
