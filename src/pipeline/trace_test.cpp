#include "pipeline/trace.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace mapl::pipeline {
namespace {

class TraceFiles : public ::testing::Test {
 protected:
  TraceFiles() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mapl-test-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~TraceFiles() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

TEST(Trace, CallsWhoWantsToKnowOfABeginning) {
  std::vector<std::string> begun;
  Trace trace({.on_begin = [&](const std::string& name, uint64_t step, int micro_batch) {
    begun.push_back(name + " " + std::to_string(step) + " " + std::to_string(micro_batch));
  }});
  { const Trace::Scope scope(&trace, {"send", "vote"}, 3); }
  { const Trace::Scope scope(&trace, {"forward"}, 3, 1); }
  EXPECT_EQ(begun, (std::vector<std::string>{"send vote 3 -1", "forward 3 1"}));
}

TEST_F(TraceFiles, AreWhatTraceViewersRead) {
  for (int stage : {0, 1}) {
    Trace trace({.stage = stage, .path = path(std::to_string(stage))});
    const Trace::Scope outer(&trace, {"forward"}, 1, 0);
    const Trace::Scope inner(&trace, {"encode"}, 1, 0);
  }
  // A third stage died while it wrote.
  std::ofstream(path("2")) << R"([{"name":"process_name","ph":"M","args":{"name":"stage 2"}},)"
                           << "\n"
                           << R"({"name":"forw)";
  { const Trace again({.stage = 2, .path = path("2")}); }  // and was started again
  merge_traces({path("0"), path("1"), path("2")}, path("all"));
  const auto events = nlohmann::json::parse(std::ifstream(path("all")));
  ASSERT_EQ(events.size(), 8U);
  EXPECT_EQ(events[1]["name"], "encode");
  EXPECT_EQ(events[2]["name"], "forward");
  EXPECT_EQ(events[2]["pid"], 0);
  EXPECT_EQ(events[2]["args"]["step"], 1);
  EXPECT_GE(events[2]["dur"].get<double>(), events[1]["dur"].get<double>());
  EXPECT_FALSE(std::filesystem::exists(path("0")));
  merge_traces({path("nothing")}, path("none"));
  EXPECT_TRUE(nlohmann::json::parse(std::ifstream(path("none"))).empty());
}

TEST(Trace, APlaceThatCannotBeWrittenIsTheUsersError) {
  EXPECT_THROW(Trace({.path = "/nowhere/trace.json"}), UserError);
}

}  // namespace
}  // namespace mapl::pipeline
