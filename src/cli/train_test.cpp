#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "base/clock.h"
#include "cli/run_mapl_for_test.h"
#include "train/same_run_for_test.h"

namespace mapl::cli {
namespace {

TEST(Train, RunsAProcessPerStageAndLeavesASummary) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Ran ran = run_mapl("train " + small.recipe_file() + " --set link.kind=zmq --run " + folder);
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_NE(ran.output.find("step 6/6"), std::string::npos) << ran.output;
  const auto lines = train::json_lines(folder + "/metrics.jsonl");
  EXPECT_EQ(lines.size(), 6u);
  for (int k = 0; k < 4; ++k) {
    EXPECT_TRUE(std::filesystem::exists(folder + "/logs/stage-" + std::to_string(k) + ".jsonl"));
  }
}

TEST(Train, ATraceTellsWhatEachStageDidWithEachMicroBatch) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Ran ran = run_mapl("train " + small.recipe_file() + " --trace --quiet --run " + folder +
                           " --set link.kind=zmq --set training.steps=2");
  ASSERT_EQ(ran.exit_code, 0) << ran.output;
  std::set<std::string> seen;  // "stage name micro-batch" of the second step
  const auto events = nlohmann::json::parse(std::ifstream(folder + "/trace.json"));
  for (const auto& event : events) {
    if (event["ph"] != "X" || event["args"]["step"] != 1) continue;
    EXPECT_GE(event["dur"].get<double>(), 0);
    seen.insert(fmt::format("{} {} {}", event["pid"].get<int>(), event["name"].get<std::string>(),
                            event["args"]["micro_batch"].get<int>()));
  }
  for (int stage = 0; stage < 4; ++stage) {
    for (int m = 0; m < 4; ++m) {
      std::vector<std::string> names = {"forward", "backward", "encode", "decode"};
      if (stage < 3) names.insert(names.end(), {"send activation", "wait for gradient"});
      if (stage > 0) names.insert(names.end(), {"send gradient", "wait for activation"});
      for (const std::string& name : names) {
        EXPECT_TRUE(seen.contains(fmt::format("{} {} {}", stage, name, m)))
            << "stage " << stage << ", " << name << ", micro-batch " << m;
      }
    }
  }
}

TEST(Train, AMistakeIsOneErrorWithExitCode2) {
  const train::SmallRun small;
  const std::string file = small.recipe_file();
  const std::string run = " --run " + small.folder() + "/run";
  for (const char* overrides : {"boundary.rank=17", "pipeline.stages=9", "model.vocab_size=70000",
                                "model.num_attention_heads=3", "boundary.rnak=4",
                                "training.steps=many", "data.train=/nowhere/x_*.bin",
                                "training.microbatch_size=3", "validation.num_sequences=3"}) {
    const Ran ran = run_mapl("train " + file + run + " --set " + overrides);
    EXPECT_EQ(ran.exit_code, 2) << overrides << ": " << ran.output;
    EXPECT_EQ(ran.output.find("mapl: error: "), 0u) << ran.output;
    EXPECT_EQ(std::count(ran.output.begin(), ran.output.end(), '\n'), 1) << ran.output;
    EXPECT_FALSE(std::filesystem::exists(small.folder() + "/run")) << overrides;
  }
}

TEST(Train, IdsBeyondTheVocabularyEndTheRunWithFileAndPosition) {
  const train::SmallRun small;
  const Ran ran = run_mapl("train " + small.recipe_file() + " --run " + small.folder() +
                           "/run --set link.kind=zmq --set model.vocab_size=90");
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find("train_0000.bin"), std::string::npos) << ran.output;
  EXPECT_TRUE(std::filesystem::exists(small.folder() + "/run/post_mortem.md"));
}

// A limit on file sizes fails a write as a full disk does; the logs and metrics stay below it.
TEST(Train, AFullDiskWhileSavingLeavesNoHalfCheckpoint) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Ran ran = run_mapl("train " + small.recipe_file() +
                               " --set link.kind=zmq --set checkpoint.interval=2 --run " + folder,
                           "trap '' XFSZ; ulimit -f 20; ");  // 10 KiB; a stage's weights take 20
  EXPECT_EQ(ran.exit_code, 3) << ran.output;
  EXPECT_NE(ran.output.find("cannot write " + folder + "/checkpoints/step-2/"), std::string::npos)
      << ran.output;
  EXPECT_NE(ran.output.find("make room"), std::string::npos) << ran.output;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder + "/checkpoints")) {
    EXPECT_TRUE(entry.is_directory()) << entry.path() << " was left behind";
  }
  EXPECT_EQ(run_mapl("eval " + folder).exit_code, 2);
}

TEST(Train, AFullDiskLeavesAPageWhenStagesAreThreadsToo) {
  const train::SmallRun small;
  const std::string folder = small.folder() + "/run";
  const Ran ran =
      run_mapl("train " + small.recipe_file() + " --set checkpoint.interval=2 --run " + folder,
               "trap '' XFSZ; ulimit -f 20; ");
  EXPECT_EQ(ran.exit_code, 3) << ran.output;  // as a stage's: starting again would not mend it
  EXPECT_TRUE(std::filesystem::exists(folder + "/post_mortem.md"));
}

// libtorch-dev brings the reference BLAS along; OpenBLAS must be asked for.
TEST(Train, TheReferenceBlasIsWarnedOfWithTheFix) {
  const std::string folder = "/usr/lib/" MAPL_MULTIARCH "/blas";
  if (!std::filesystem::exists(folder + "/libblas.so.3")) {
    GTEST_SKIP() << "no reference BLAS in " << folder;
  }
  const train::SmallRun small;
  const std::string words =
      "train " + small.recipe_file() + " --set training.steps=1 --run " + small.folder();
  const Ran slow = run_mapl(words + "/slow", "export LD_LIBRARY_PATH=" + folder + "; ");
  EXPECT_EQ(slow.exit_code, 0) << slow.output;
  EXPECT_NE(slow.output.find("apt-get install libopenblas-dev"), std::string::npos) << slow.output;
  const Ran fast = run_mapl(words + "/fast");
  EXPECT_EQ(fast.output.find("libopenblas-dev"), std::string::npos) << fast.output;
}

constexpr const char* kRecoverySteps = "400";

// A run that goes on in the background.
class LongRun {
 public:
  explicit LongRun(const train::SmallRun& small, const std::string& steps = "1000000")
      : folder_(small.folder() + "/run"), output_(small.folder() + "/output") {
    const std::string recipe = small.recipe_file();
    const std::string steps_key = "training.steps=" + steps;
    pid_ = fork();
    if (pid_ == 0) {
      freopen(output_.c_str(), "w", stderr);
      execl(MAPL_BINARY, "mapl", "train", recipe.c_str(), "--run", folder_.c_str(), "--quiet",
            "--set", "link.kind=zmq", "--set", "checkpoint.interval=20", "--set",
            "validation.interval=50", "--set", steps_key.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
  }

  // Until `count` steps are logged: the run is under way.
  bool wait_for_steps(size_t count) const {
    const Deadline deadline = in_seconds(120);
    while (Clock::now() < deadline) {
      if (train::json_lines(folder_ + "/metrics.jsonl").size() >= count) return true;
      poll(nullptr, 0, 20);
    }
    return false;
  }
  // The process of a stage, by its command line; -1 when there is none.
  pid_t stage_pid(int stage) const {
    const std::string children =
        "/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children";
    std::ifstream list(children);
    for (pid_t child; list >> child;) {
      std::ifstream file("/proc/" + std::to_string(child) + "/cmdline");
      const std::string words{std::istreambuf_iterator<char>(file), {}};
      const std::string wanted = std::string("--stage") + '\0' + std::to_string(stage) + '\0';
      if (words.find(wanted) != std::string::npos) return child;
    }
    return -1;
  }
  int end() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string text(const std::string& path) const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string log(int stage) const {
    return text(folder_ + "/logs/stage-" + std::to_string(stage) + ".jsonl");
  }
  std::string output() const { return text(output_); }
  const std::string& folder() const { return folder_; }
  pid_t pid() const { return pid_; }

 private:
  std::string folder_, output_;
  pid_t pid_ = -1;
};

// Ctrl-C in the terminal of all, or a scheduler that takes the machine of one away.
TEST(Train, ASignalToAllOrToOneStageEndsItCleanly) {
  for (const bool one : {false, true}) {
    const train::SmallRun small;
    const LongRun run(small);
    ASSERT_TRUE(run.wait_for_steps(3)) << run.output();
    kill(one ? run.stage_pid(2) : run.pid(), one ? SIGTERM : SIGINT);
    EXPECT_EQ(run.end(), 0) << run.output();
    const auto summary = nlohmann::json::parse(run.text(run.folder() + "/summary.json"));
    EXPECT_GE(summary["steps"].get<int>(), 3);
    EXPECT_TRUE(std::filesystem::exists(run.folder() + "/checkpoints/step-" +
                                        summary["steps"].dump() + "/stage-3.json"));
  }
}

// The undisturbed run, made once.
const std::string& undisturbed() {
  static const train::SmallRun small;
  static const std::string folder = [] {
    const LongRun run(small, kRecoverySteps);
    EXPECT_EQ(run.end(), 0) << run.output();
    return run.folder();
  }();
  return folder;
}

TEST(Train, AStageThatIsKilledIsStartedAgainAndNothingIsDifferent) {
  for (const int stage : {0, 2, 3}) {
    const train::SmallRun small;
    const LongRun run(small, kRecoverySteps);
    ASSERT_TRUE(run.wait_for_steps(30)) << run.output();
    const pid_t victim = run.stage_pid(stage);
    ASSERT_GT(victim, 0);
    kill(victim, SIGKILL);
    EXPECT_EQ(run.end(), 0) << run.output();
    const auto summary = nlohmann::json::parse(run.text(run.folder() + "/summary.json"));
    EXPECT_EQ(summary["recoveries"], 1) << stage;
    EXPECT_EQ(train::difference(run.folder(), undisturbed()), "");
  }
}

// One that is stopped does not answer, and its connections stay open.
TEST(Train, AStageThatFallsSilentIsWaitedFor) {
  const train::SmallRun small;
  const LongRun run(small, kRecoverySteps);
  ASSERT_TRUE(run.wait_for_steps(30)) << run.output();
  const pid_t victim = run.stage_pid(1);
  kill(victim, SIGSTOP);
  const Deadline deadline = in_seconds(60);
  while (run.log(2).find("silent for") == std::string::npos && Clock::now() < deadline) {
    poll(nullptr, 0, 20);
  }
  kill(victim, SIGCONT);
  EXPECT_EQ(run.end(), 0) << run.output();
  EXPECT_EQ(train::difference(run.folder(), undisturbed()), "");
}

TEST(Train, ARunIsResumedAtAnotherNumberOfStages) {
  const train::SmallRun small;
  const std::string set = small.recipe_file() + " --quiet --run " + small.folder() + "/run --set ";
  const auto half = run_mapl("train " + set + "training.steps=3");
  ASSERT_EQ(half.exit_code, 0) << half.output;
  EXPECT_NE(run_mapl("train " + set + "training.steps=6").output.find("--resume"),
            std::string::npos);
  const auto resumed = run_mapl("train " + set + "pipeline.stages=2 --resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(resumed.output.find("afresh"), std::string::npos) << resumed.output;
  // Two of these three boundaries are new.
  const auto cut = run_mapl("train " + set + "pipeline.stages=4 --set training.steps=8 --resume");
  ASSERT_EQ(cut.exit_code, 0) << cut.output;
  for (const auto& [boundary, is_new] :
       {std::pair("boundary.2", true), std::pair("boundary.4", false),
        std::pair("boundary.6", true)}) {
    const size_t at = cut.output.find(boundary);
    EXPECT_EQ(at != std::string::npos, is_new) << boundary << ": " << cut.output;
  }
  EXPECT_NE(cut.output.find("afresh"), std::string::npos) << cut.output;
  const auto lines = train::json_lines(small.folder() + "/run/metrics.jsonl");
  ASSERT_EQ(lines.size(), 8u);
  EXPECT_EQ(lines[7]["step"], 8);
  const auto other = run_mapl("train " + set + "model.hidden_size=32 --resume");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_NE(other.output.find("model.hidden_size: 16 -> 32"), std::string::npos) << other.output;
}

}  // namespace
}  // namespace mapl::cli
