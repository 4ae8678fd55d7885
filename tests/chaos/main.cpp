// Breaks runs in every way that docs/recovery.md promises to outlive, and compares what comes of
// them with an undisturbed run, to the last bit.
//
//   chaos kill   each stage killed in each phase of a step; with --mirror, without checkpoints
//   chaos cut    links between stages reset, cut, frozen one way and both ways, and stages killed
//   and
//                started by hand, at random moments
//   chaos rate   stages killed at random, so often on average: how much progress is left
//   chaos times  how soon a stage that is gone is noticed, and the run goes on
//   chaos strangers
//                uninvited connections to a stage, and a man in the middle of its line
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "base/clock.h"
#include "chaos/cut.h"
#include "chaos/runs.h"
#include "chaos/strangers.h"
#include "chaos/tally.h"
#include "chaos/times.h"
#include "train/same_run_for_test.h"

namespace mapl::chaos {
namespace {

// What a supervisor has said of stages that it started again.
std::vector<std::string> restarts(const std::string& output_path) {
  std::ifstream file(output_path);
  std::vector<std::string> said;
  for (std::string line; std::getline(file, line);) {
    if (line.find("it was started again") != std::string::npos) said.push_back(line);
  }
  return said;
}

// The step from which all stages went on after they had come together again; below 0: they have
// not, for whoever was started again had been killed when the run was over.
int64_t came_together_at(const std::string& folder) {
  int64_t step = -1;
  for (const auto& event : train::json_lines(folder + "/events.jsonl")) {
    if (event.value("event", "") != "started") step = event.value("step", int64_t{0});
  }
  return step;
}

// ---- kill --------------------------------------------------------------------------------------

struct Phase {
  std::string name;
  std::map<int, std::string> begins;  // by stage, -1: any other
  int most_ms = 3;                    // from there to the kill: some of what is begun takes longer
};

struct KillOptions {
  int seeds = 1;
  int steps = 24;
  bool mirrors = false;             // no checkpoint before the end: what is lost is with neighbours
  std::vector<std::string> phases;  // empty: all
};

const std::vector<Phase>& phases() {
  static const std::vector<Phase> all = {
      {"handshake", {{-1, "greeting"}}, 300},
      {"warm-up forward", {{-1, "forward 0"}}},
      // The first micro-batch that takes turns with gradients; stage 3 has no warm-up.
      {"steady", {{0, "forward 3"}, {1, "forward 2"}, {2, "forward 1"}, {-1, "forward 2"}}},
      {"backward", {{-1, "backward"}}},
      {"vote", {{0, "wait for vote"}, {-1, "send vote"}}},
      {"commit", {{0, "send commit"}, {-1, "wait for commit"}}},
      {"optimiser", {{-1, "optimiser"}}},
      {"codec sync", {{0, "send basis"}, {-1, "wait for basis"}}},
      {"checkpoint", {{-1, "checkpoint"}}, 30},
      {"mirror", {{-1, "mirror"}}},
      {"validation", {{-1, "validation"}}},
  };
  return all;
}

bool is_wanted(const Phase& phase, const KillOptions& options) {
  // One of the two does not come to pass.
  if (phase.name == (options.mirrors ? "checkpoint" : "mirror")) return false;
  const auto& wanted = options.phases;
  return wanted.empty() || std::count(wanted.begin(), wanted.end(), phase.name) > 0;
}

int run_kill(const KillOptions& options) {
  const train::SmallRun place;
  const std::string expected = place.folder() + "/expected";
  const auto train = [&](const std::string& folder) {
    auto arguments = train_arguments(place, folder, options.steps);
    if (!options.mirrors) return arguments;
    return with_sets(arguments, {"checkpoint.interval=0", "checkpoint.mirror_interval=1"});
  };
  Process undisturbed(train(expected), place.folder() + "/output");
  if (undisturbed.wait(kPatience) != 0) {
    fmt::print("the undisturbed run fails\n");
    return 1;
  }
  fmt::print(
      "| phase | runs | broken off | other result | hung | failed |\n"
      "| --- | --- | --- | --- | --- | --- |\n");
  bool good = true;
  for (const Phase& phase : phases()) {
    if (!is_wanted(phase, options)) continue;
    Tally tally;
    for (int stage = 0; stage < kStages; ++stage) {
      for (int seed = 0; seed < options.seeds; ++seed) {
        const auto found = phase.begins.find(stage);
        const std::string& what = found != phase.begins.end() ? found->second : phase.begins.at(-1);
        // Any step from the start to shortly before the end; a greeting is at the start only.
        const int step = what == "greeting" ? 0 : (7 * stage + 5 * seed + 1) % (options.steps - 7);
        const std::string folder = place.folder() + "/run";
        std::filesystem::remove_all(folder);
        auto arguments = train(folder);
        // The first at once.
        std::mt19937 random(static_cast<uint32_t>(1000 * seed + stage));
        const int delay_us =
            seed == 0 ? 0 : std::uniform_int_distribution<int>(0, 1000 * phase.most_ms)(random);
        const std::string break_at = fmt::format("{}:{}:{}+{}", stage, what, step, delay_us);
        arguments.insert(arguments.end(), {"--break-at", break_at});
        const std::string output = place.folder() + "/output";
        std::filesystem::remove(output);
        Process run(arguments, output);
        const int code = run.wait(kPatience);
        const std::vector<std::string> again = restarts(output);
        const int64_t joined = came_together_at(folder);
        // Before they had come together at all, or afterwards.
        const bool is_broken = !again.empty() && (what == "greeting" || joined >= 0);
        count(tally, code, folder, expected, break_at, is_broken);
        if (again.size() > 1) {  // one was killed: the others have crashed
          tell(tally, folder, break_at, fmt::format("{}", fmt::join(again, "; ")));
          good = false;
        }
        if (options.mirrors && joined >= 0 && joined < step - 1) {
          tell(tally, folder, break_at, fmt::format("back to step {}", joined));
          good = false;
        }
      }
    }
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", phase.name, tally.runs, tally.broken,
               tally.different, tally.hung, tally.failed);
    std::fflush(stdout);
    good = good && tally.is_good() && tally.broken > 0;
  }
  return good ? 0 : 1;
}

// ---- rate --------------------------------------------------------------------------------------

int run_rate(const std::string& recipe, const std::string& folder, double seconds, double every,
             const std::vector<std::string>& sets, uint32_t seed) {
  const auto arguments = [&](const std::string& run) {
    return with_sets({mapl_path(), "train", recipe, "--quiet", "--run", folder + "/" + run}, sets);
  };
  std::filesystem::create_directories(folder);
  const auto steps_in = [&](const std::string& run, double span, bool kills) {
    const std::string at = folder + "/" + run;
    Process process(arguments(run), folder + "/output");
    std::mt19937 random(seed);
    std::exponential_distribution<double> wait(1 / every);
    const Deadline end = in_seconds(span);
    Deadline next_kill = in_seconds(wait(random));
    std::vector<double> recovered;
    int64_t reached = -1;  // the step to pass after a kill
    int64_t killed_ns = 0;
    int kills_done = 0;
    while (Clock::now() < end && process.is_running()) {
      poll(nullptr, 0, 20);
      if (reached >= 0 && last_step(at) > reached) {
        recovered.push_back(1e-9 * static_cast<double>(now_ns() - killed_ns));
        reached = -1;
      }
      if (!kills || Clock::now() < next_kill) continue;
      next_kill = in_seconds(wait(random));
      const int stage = std::uniform_int_distribution<int>(0, kStages - 1)(random);
      const pid_t victim = stage_process(process.pid(), stage);
      if (victim <= 0) continue;
      if (reached < 0) {
        reached = last_step(at);
        killed_ns = now_ns();
      }
      kill(victim, SIGKILL);
      ++kills_done;
    }
    const int64_t steps = last_step(at);
    process.signal(SIGINT);
    const int code = process.wait(kPatience);
    if (code != 0) fmt::print("the run ended with {}\n", code);
    std::sort(recovered.begin(), recovered.end());
    if (kills && !recovered.empty()) {
      fmt::print("{} kills; from a kill to the next new step: median {:.1f} s, largest {:.1f} s\n",
                 kills_done, recovered[recovered.size() / 2], recovered.back());
    }
    return code == 0 ? steps : -1;
  };
  // Before and after: the machine may have other things to do.
  const double alone = std::min(seconds, 120.0);
  const int64_t before = steps_in("undisturbed-before", alone, false);
  const int64_t disturbed = steps_in("disturbed", seconds, true);
  const int64_t after = steps_in("undisturbed-after", alone, false);
  const double progress = static_cast<double>(disturbed) / seconds * 2 * alone /
                          static_cast<double>(std::max<int64_t>(before + after, 1));
  fmt::print(
      "{} steps in {:.0f} s with a kill every {:.0f} s on average; without, {} in {:.0f} s before "
      "and {} after: {:.0f} % of the progress\n",
      disturbed, seconds, every, before, alone, after, 100 * progress);
  constexpr double kLeast = 0.7;
  return std::min({before, disturbed, after}) > 0 && progress >= kLeast ? 0 : 1;
}

}  // namespace
}  // namespace mapl::chaos

int main(int argc, char** argv) {
  using namespace mapl::chaos;
  CLI::App parser("Breaks runs of mapl and compares what comes of them.", "chaos");
  parser.require_subcommand(1);
  KillOptions kill;
  CutOptions cut;
  uint32_t seed = 0;
  double seconds = 3600, every = 15;
  std::string recipe = "recipes/tiny.toml", folder = "runs/chaos";
  std::vector<std::string> sets;
  auto* kills = parser.add_subcommand("kill", "Each stage in each phase");
  kills->add_option("--seeds", kill.seeds, "Runs of each")->capture_default_str();
  kills->add_option("--steps", kill.steps)->check(CLI::Range(10, 100000))->capture_default_str();
  kills->add_flag("--mirror", kill.mirrors, "No checkpoints: neighbours keep each other's state");
  kills->add_option("--phase", kill.phases, "This one only (may be repeated)");
  auto* cuts = parser.add_subcommand("cut", "Links at random moments");
  cuts->add_option("--events", cut.events)->capture_default_str();
  cuts->add_option("--steps", cut.steps)->capture_default_str();
  cuts->add_option("--seed", cut.seed)->capture_default_str();
  StrangersOptions siege;
  auto* strangers = parser.add_subcommand("strangers", "Attacks from outside and in the middle");
  strangers->add_option("--attempts", siege.attempts)->capture_default_str();
  strangers->add_option("--per-second", siege.per_second)->capture_default_str();
  strangers->add_option("--window", siege.window_seconds, "Seconds")->capture_default_str();
  strangers->add_option("--idle", siege.idle, "Connections held open")->capture_default_str();
  strangers->add_option("--tricks", siege.tricks, "In the middle")->capture_default_str();
  strangers->add_option("--set", siege.sets);
  strangers->add_option("--seed", siege.seed)->capture_default_str();
  auto* rates = parser.add_subcommand("rate", "Progress under failures");
  rates->add_option("--recipe", recipe)->capture_default_str();
  rates->add_option("--folder", folder)->capture_default_str();
  rates->add_option("--seconds", seconds)->capture_default_str();
  rates->add_option("--every", every)->capture_default_str();
  rates->add_option("--set", sets);
  rates->add_option("--seed", seed)->capture_default_str();
  TimesOptions clock;
  auto* times = parser.add_subcommand("times", "Until a failure is noticed, and mended");
  times->add_option("--recipe", clock.recipe)->capture_default_str();
  times->add_option("--folder", clock.folder)->capture_default_str();
  times->add_option("--rounds", clock.rounds, "Of each")->capture_default_str();
  times->add_option("--set", clock.sets);
  times->add_option("--seed", clock.seed)->capture_default_str();
  CLI11_PARSE(parser, argc, argv);
  if (kills->parsed()) return run_kill(kill);
  if (cuts->parsed()) return run_cut(cut);
  if (strangers->parsed()) return run_strangers(siege);
  if (times->parsed()) return run_times(clock);
  return run_rate(recipe, folder, seconds, every, sets, seed);
}
