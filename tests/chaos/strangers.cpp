#include "chaos/strangers.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

#include "chaos/crowd.h"
#include "chaos/two_stages.h"
#include "train/same_run_for_test.h"

namespace mapl::chaos {
namespace {

constexpr double kPatience = 120;  // seconds at least: a run that takes longer hangs
constexpr int kTickMs = 10;
constexpr double kHangUpSeconds = 5.5;
constexpr double kRecoverySeconds = 8;  // of a run; not each alteration breaks it off
constexpr int kCalibrationSteps = 60;

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

enum class Window { kCalm, kAttack, kIdle };
struct Span {
  Window window;
  double begin, end;   // unix seconds
  double cpu_seconds;  // of the stage that listens
};

bool is_running(std::vector<Process>& stages) {
  return std::all_of(stages.begin(), stages.end(), [](Process& p) { return p.is_running(); });
}

int wait_all(std::vector<Process>& stages, double patience) {
  int code = 0;
  for (Process& stage : stages) {
    const int ended = stage.wait(patience);
    if (ended != 0) code = ended;
  }
  return code;
}

// What came of a run, in words.
std::string outcome_of(int code, size_t joins, const std::string& different) {
  if (code == -1) return "the run hangs";
  if (code != 0) return fmt::format("the run failed with {}", code);
  return fmt::format(
      "the run ended, was joined {} time(s), and is {}", joins,
      different.empty() ? "the same as undisturbed, bit for bit" : "another: " + different);
}

double seconds_since(int64_t start_ns) { return 1e-9 * static_cast<double>(now_ns() - start_ns); }

// Seconds per step of those that lie wholly within spans of that window.
std::vector<double> step_seconds(const std::string& folder, const std::vector<Span>& spans,
                                 Window window) {
  std::vector<double> seconds;
  for (const auto& line : train::json_lines(folder + "/metrics.jsonl")) {
    const double took = line.value("step_seconds", 0.0);
    const double end = line.value("_timestamp", 0.0);
    if (std::any_of(spans.begin(), spans.end(), [&](const Span& span) {
          return span.window == window && end - took >= span.begin && end <= span.end;
        })) {
      seconds.push_back(took);
    }
  }
  return seconds;
}

class Siege {
 public:
  explicit Siege(const StrangersOptions& options)
      : options_(options), random_(options.seed), pair_(options.sets, options.seed) {}

  int run() {
    calibrate();
    Watched calm;
    const int64_t start = now_ns();
    auto stages = pair_.start("undisturbed", steps_);
    for (; is_running(stages); poll(nullptr, 0, 50)) calm.look(stages[0].pid());
    if (wait_all(stages, patience_) != 0) return complain("the undisturbed run fails");
    const double alone = seconds_since(start);
    patience_ = std::max(kPatience, 3 * alone);
    fmt::print("undisturbed: {} steps in {:.1f} s\n\n", steps_, alone);
    std::fflush(stdout);
    const bool outside = options_.window_seconds == 0 || from_outside(calm);
    const bool middle = options_.tricks == 0 || from_the_middle();
    return outside && middle ? 0 : 1;
  }

 private:
  int complain(const std::string& what) const {
    fmt::print("{}\n{}\n", what, pair_.output());
    return 1;
  }

  // How many steps make a run that is long enough.
  void calibrate() {
    auto stages = pair_.start("calibration", kCalibrationSteps);
    if (wait_all(stages, patience_) != 0) throw std::runtime_error(pair_.output());
    std::vector<double> seconds;
    for (const auto& line : train::json_lines(pair_.folder("calibration") + "/metrics.jsonl")) {
      seconds.push_back(line.value("step_seconds", 0.0));
    }
    const double window = options_.window_seconds;
    double wanted = 1 + options_.attempts / options_.per_second + 0.05 * options_.tricks;
    // Each attack is followed by the last ones' being hung up on; so are those that are idle.
    if (window > 0) {
      const double windows = std::ceil(options_.attempts / options_.per_second / window);
      wanted = windows * (2 * window + kHangUpSeconds) + 3 * window + (options_.idle > 0 ? 18 : 0);
    }
    steps_ = static_cast<int>(1.1 * wanted / median(seconds));
  }

  // Both stages are at work and their handshake is recorded.
  bool wait_trained(std::vector<Process>& stages, const std::string& run) {
    while (is_running(stages) && last_step(pair_.folder(run)) < 3) poll(nullptr, 0, 50);
    return is_running(stages) && !pair_.middle().recording().handshake().empty();
  }

  void gather(int attempts) {
    target_ = pair_.target();
    kinds_ = kinds_of(target_, telephone_);
    plan_ = plan_of(kinds_, attempts, random_);
    crowd_.emplace(kinds_.size() + 1);
    made_of_.assign(kinds_.size() + 1, 0);
    made_ = 0;
    watched_ = {};
  }

  void open_attempt() {
    const size_t kind = plan_[made_];
    crowd_->add(kind, kinds_[kind].make(made_of_[kind]++, random_));
    ++made_;
  }

  // The attempts that are due at their rate; all are turned to.
  void attempt(std::vector<Process>& stages, int64_t start_ns, size_t before) {
    const auto due = static_cast<size_t>(options_.per_second * seconds_since(start_ns));
    while (made_ < plan_.size() && made_ - before < due) open_attempt();
    crowd_->turn();
    watched_.look(stages[0].pid());
    poll(nullptr, 0, kTickMs);
  }
  void attack(std::vector<Process>& stages, double seconds) {
    const int64_t start = now_ns();
    const size_t before = made_;
    while (seconds_since(start) < seconds && is_running(stages)) attempt(stages, start, before);
  }

  // Many connections that say nothing, or only greet, again as soon as they are hung up on.
  void hold_idle(std::vector<Process>& stages, size_t kind, double seconds) {
    const int64_t start = now_ns();
    const std::string greeting = target_.recording.greeting;
    while (seconds_since(start) < seconds && is_running(stages)) {
      for (int i = 0; i < 10 && crowd_->size() < static_cast<size_t>(options_.idle); ++i) {
        Script script{.parts = {{made_ % 2 == 0 ? greeting : std::string(), 0}}};
        crowd_->add(kind, raw_stranger(target_.port, std::move(script)));
        ++made_;
        ++made_of_[kind];
      }
      most_idle_ = std::max(most_idle_, crowd_->size());
      crowd_->turn();
      watched_.look(stages[0].pid());
      poll(nullptr, 0, kTickMs);
    }
  }

  bool from_outside(const Watched& calm);
  bool from_the_middle();
  bool controls();
  bool report(const Watched& calm, int code);
  void report_attempts() const;
  void report_steps() const;

  const StrangersOptions options_;
  std::mt19937 random_;
  TwoStages pair_;
  int steps_ = 0;
  double patience_ = kPatience;
  Telephone telephone_;
  Target target_;
  std::vector<Kind> kinds_;
  std::vector<size_t> plan_;
  std::vector<int> made_of_;  // by kind
  size_t made_ = 0;
  size_t most_idle_ = 0;
  std::optional<Crowd> crowd_;
  Watched watched_;
  std::vector<Span> spans_;
  double attack_cpu_ = 0, attack_wall_ = 0;
};

// Whether what tells that somebody was let in would tell it: of the honest stage, and of one more
// who has its key.
bool Siege::controls() {
  Crowd honest(1);
  honest.add(0, telephone_.call(target_.port, pair_.honest()));
  while (honest.turn() == 0) poll(nullptr, 0, kTickMs);
  const bool by_call = honest.count(0, Outcome::kAdmitted) == 1;
  const bool by_bytes = is_admission(pair_.middle().answer());
  if (!by_call || !by_bytes) fmt::print("an admission would not be noticed\n");
  return by_call && by_bytes;
}

bool Siege::from_outside(const Watched& calm) {
  auto stages = pair_.start("besieged", steps_);
  if (!wait_trained(stages, "besieged")) return complain("the run does not start") == 0;
  gather(options_.attempts - 2 * options_.idle);
  const size_t idle_kind = kinds_.size();
  const bool can_tell = controls();
  const auto spend = [&](Window window, const std::function<void()>& how) {
    watched_.look(stages[0].pid());
    const double begin = unix_seconds(), cpu = cpu_seconds(), used = watched_.cpu_seconds;
    how();
    watched_.look(stages[0].pid());
    spans_.push_back({window, begin, unix_seconds(), watched_.cpu_seconds - used});
    if (window == Window::kCalm) return;
    attack_cpu_ += cpu_seconds() - cpu;
    attack_wall_ += spans_.back().end - begin;
  };
  const auto drain = [&] {
    while (crowd_->size() > 0 && is_running(stages)) {
      crowd_->turn();
      poll(nullptr, 0, kTickMs);
    }
  };
  const auto rest = [&] {
    for (const int64_t start = now_ns(); seconds_since(start) < options_.window_seconds;) {
      if (!is_running(stages)) return;
      watched_.look(stages[0].pid());
      poll(nullptr, 0, 50);
    }
  };
  while (made_ < plan_.size() && is_running(stages)) {
    spend(Window::kCalm, rest);
    spend(Window::kAttack, [&] { attack(stages, options_.window_seconds); });
    drain();
  }
  spend(Window::kCalm, rest);
  if (options_.idle > 0) {
    spend(Window::kIdle,
          [&] { hold_idle(stages, idle_kind, std::max(11.0, options_.window_seconds)); });
    drain();
    spend(Window::kCalm, rest);
  }
  return report(calm, wait_all(stages, patience_)) && can_tell;
}

void Siege::report_steps() const {
  const std::string folder = pair_.folder("besieged");
  const auto calm = step_seconds(folder, spans_, Window::kCalm);
  fmt::print(
      "\n| window | steps | median step | over calm | listening stage's CPU per step |\n"
      "| --- | ---: | ---: | ---: | ---: |\n");
  for (const auto& [window, name] :
       {std::pair{Window::kCalm, "calm"}, std::pair{Window::kAttack, "attempts"},
        std::pair{Window::kIdle, "idle connections"}}) {
    const auto steps = step_seconds(folder, spans_, window);
    double cpu = 0;
    for (const Span& span : spans_) cpu += span.window == window ? span.cpu_seconds : 0;
    if (steps.empty()) continue;
    fmt::print("| {} | {} | {:.2f} ms | {:+.1f} % | {:.2f} ms |\n", name, steps.size(),
               1e3 * median(steps), 100 * (median(steps) / median(calm) - 1),
               1e3 * cpu / static_cast<double>(steps.size()));
  }
}

void Siege::report_attempts() const {
  fmt::print(
      "| attempt | made | admitted | turned away | left by itself | not hung up on | nobody there "
      "|\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  const auto row = [&](const std::string& name, int made, auto count) {
    fmt::print("| {} | {} | {} | {} | {} | {} | {} |\n", name, made, count(Outcome::kAdmitted),
               count(Outcome::kTurnedAway), count(Outcome::kLeft), count(Outcome::kStillOpen),
               count(Outcome::kNobody));
  };
  for (size_t k = 0; k <= kinds_.size(); ++k) {
    row(k < kinds_.size() ? kinds_[k].name : "idle", made_of_[k],
        [&](Outcome outcome) { return crowd_->count(k, outcome); });
  }
  row("all", static_cast<int>(made_), [&](Outcome outcome) { return crowd_->count(outcome); });
  fmt::print("\nthe recorded handshake has {} bytes\n", target_.recording.handshake().size());
}

bool Siege::report(const Watched& calm, int code) {
  report_attempts();
  report_steps();
  const std::string different =
      code == 0 ? train::difference(pair_.folder("besieged"), pair_.folder("undisturbed")) : "";
  const size_t joins = train::json_lines(pair_.folder("besieged") + "/events.jsonl").size();
  fmt::print(
      "\n{:.0f} attempts/s; the attacker used {:.0f} % of a core; {} idle connections at once\n"
      "listening stage: peak {:.1f} MiB resident, {} descriptors; undisturbed {:.1f} MiB, {}\n"
      "{}\n",
      options_.per_second, 100 * attack_cpu_ / attack_wall_, most_idle_,
      static_cast<double>(watched_.peak_kib) / 1024, watched_.peak_files,
      static_cast<double>(calm.peak_kib) / 1024, calm.peak_files,
      outcome_of(code, joins, different));
  if (code != 0) complain("the besieged run fails");
  std::fflush(stdout);
  return code == 0 && different.empty() && joins == 1 && crowd_->count(Outcome::kAdmitted) == 0 &&
         made_ >= plan_.size();
}

// One trick after the other, each when the run has recovered from the one before; strangers come
// all the while, also when the peer's place is free.
bool Siege::from_the_middle() {
  auto stages = pair_.start("in the middle", steps_);
  const std::string run = pair_.folder("in the middle");
  if (!wait_trained(stages, "in the middle")) return complain("the run does not start") == 0;
  gather(options_.attempts);
  const bool can_tell = controls();
  std::vector<int> played(kNumTricks), broken(kNumTricks);
  const size_t bits = 8 * target_.recording.handshake().size();
  const auto joins = [&] { return train::json_lines(run + "/events.jsonl").size(); };
  const int64_t start = now_ns();
  for (int i = 0; i < options_.tricks && is_running(stages); ++i) {
    const auto trick = static_cast<Trick>(i % kNumTricks);
    const size_t before = joins();
    pair_.middle().play(trick, static_cast<int>(random_() % 2), random_() % bits);
    const Deadline patience = in_seconds(kRecoverySeconds);
    while (is_running(stages) && Clock::now() < patience &&
           (!pair_.middle().is_done() || joins() == before)) {
      attempt(stages, start, 0);
    }
    if (pair_.middle().is_done()) ++played[static_cast<size_t>(trick)];
    if (joins() > before) ++broken[static_cast<size_t>(trick)];
  }
  while (is_running(stages) && (made_ < plan_.size() || crowd_->size() > 0)) {
    attempt(stages, start, 0);
  }
  const int code = wait_all(stages, patience_);
  const std::string different =
      code == 0 ? train::difference(run, pair_.folder("undisturbed")) : "";
  fmt::print(
      "\n| in the middle | times | run broken off and joined again |\n| --- | ---: | ---: |\n");
  for (int i = 0; i < kNumTricks; ++i) {
    const auto at = static_cast<size_t>(i);
    fmt::print("| {} | {} | {} |\n", name_of(static_cast<Trick>(i)), played[at], broken[at]);
  }
  fmt::print("\nstrangers meanwhile:\n\n");
  report_attempts();
  fmt::print("\n{}\n", outcome_of(code, joins(), different));
  if (code != 0) complain("the run with a man in the middle fails");
  const bool all_played = std::accumulate(played.begin(), played.end(), 0) == options_.tricks;
  if (!all_played) fmt::print("the run was over too soon\n");
  const bool all_noticed = broken == played;
  if (!all_noticed) fmt::print("not all of it was noticed\n");
  return code == 0 && different.empty() && all_played && all_noticed && can_tell &&
         crowd_->count(Outcome::kAdmitted) == 0;
}

}  // namespace

int run_strangers(const StrangersOptions& options) { return Siege(options).run(); }

}  // namespace mapl::chaos
