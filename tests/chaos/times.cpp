#include "chaos/times.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "base/clock.h"
#include "chaos/runs.h"

namespace mapl::chaos {
namespace {

constexpr int kStages = 4;
constexpr double kMostSeconds = 60;  // for anything to happen
constexpr int kLookMs = 5;
constexpr const char* kNoticed = "waiting for the other stages to go on";

double seconds_since(int64_t start_ns) { return 1e-9 * static_cast<double>(now_ns() - start_ns); }

// Seconds from `start_ns` until it is so; -1 when it does not come to be.
double wait_until(int64_t start_ns, const std::function<bool()>& is_so) {
  while (!is_so()) {
    if (seconds_since(start_ns) > kMostSeconds) return -1;
    poll(nullptr, 0, kLookMs);
  }
  return seconds_since(start_ns);
}

// The log of a stage from here on.
class LogTail {
 public:
  LogTail(const std::string& folder, int stage)
      : path_(fmt::format("{}/logs/stage-{}.jsonl", folder, stage)),
        begin_(std::filesystem::file_size(path_)) {}
  bool has(const std::string& text) const {
    std::ifstream file(path_);
    file.seekg(static_cast<std::streamoff>(begin_));
    return std::string(std::istreambuf_iterator<char>(file), {}).find(text) != std::string::npos;
  }

 private:
  std::string path_;
  uintmax_t begin_;
};

struct Times {
  std::vector<double> noticed, went_on;
};

void print_row(const char* what, Times times) {
  const auto of = [](std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return fmt::format("{:.2f} | {:.2f}", values[values.size() / 2], values.back());
  };
  fmt::print("| {} | {} | {} | {} |\n", what, times.noticed.size(), of(times.noticed),
             of(times.went_on));
}

}  // namespace

int run_times(const TimesOptions& options) {
  std::filesystem::remove_all(options.folder);
  std::filesystem::create_directories(options.folder);
  const std::string run = options.folder + "/run";
  std::vector<std::string> arguments = {
      mapl_path(), "train", options.recipe, "--quiet",
      "--run",     run,     "--set",        "training.steps=100000"};
  for (const std::string& set : options.sets) arguments.insert(arguments.end(), {"--set", set});
  Process process(arguments, options.folder + "/output");
  std::mt19937 random(options.seed);
  Times killed, stopped;
  bool good = wait_until(now_ns(), [&] { return last_step(run) >= 3; }) >= 0;
  for (int i = 0; i < 2 * options.rounds && good && process.is_running(); ++i) {
    const bool kills = i % 2 == 0;
    const int stage = std::uniform_int_distribution<int>(0, kStages - 1)(random);
    // Anywhere in a step.
    poll(nullptr, 0, std::uniform_int_distribution<int>(0, 1000)(random));
    std::vector<LogTail> others;
    for (int k = 0; k < kStages; ++k) {
      if (k != stage) others.emplace_back(run, k);
    }
    const int64_t reached = last_step(run);
    const pid_t victim = stage_process(process.pid(), stage);
    good = victim > 0;
    if (!good) break;
    int64_t start = now_ns();
    kill(victim, kills ? SIGKILL : SIGSTOP);
    const double noticed = wait_until(start, [&] {
      return std::all_of(others.begin(), others.end(),
                         [](const LogTail& log) { return log.has(kNoticed); });
    });
    if (!kills) {
      start = now_ns();
      kill(victim, SIGCONT);
    }
    const double went_on = wait_until(start, [&] { return last_step(run) > reached; });
    good = noticed >= 0 && went_on >= 0;
    Times& times = kills ? killed : stopped;
    times.noticed.push_back(noticed);
    times.went_on.push_back(went_on);
  }
  process.signal(SIGINT);
  good = process.wait(kMostSeconds) == 0 && good;
  if (!good) {
    fmt::print("the run failed, or did not notice or go on in {:.0f} s: see {}\n", kMostSeconds,
               options.folder);
    return 1;
  }
  fmt::print(
      "| stage | times | all others know, s: median | largest | next new step, s: median | largest "
      "|\n| --- | ---: | ---: | ---: | ---: | ---: |\n");
  print_row("killed", killed);
  print_row("silent (then from when it speaks again)", stopped);
  return 0;
}

}  // namespace mapl::chaos
