#include "base/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/status.h"

namespace mapl {
namespace {

TEST(Log, LinesReachTheFile) {
  const auto path = std::filesystem::temp_directory_path() / "mapl_log_test.log";
  std::filesystem::remove(path);
  log_to_terminal();
  log_to_file(path.string());
  spdlog::info("stage {} is up", 3);
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find("info stage 3 is up"), std::string::npos) << text.str();
  std::filesystem::remove(path);
}

TEST(Log, AFolderThatCannotBeWrittenIsTheUsersError) {
  EXPECT_THROW(log_to_file("/proc/nowhere/stage.log"), UserError);
}

}  // namespace
}  // namespace mapl
