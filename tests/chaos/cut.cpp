#include "chaos/cut.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <random>

#include "base/clock.h"
#include "base/status.h"
#include "chaos/proxy.h"
#include "chaos/runs.h"
#include "chaos/tally.h"
#include "link/curve_keys.h"
#include "link/loopback_for_test.h"
#include "train/same_run_for_test.h"

namespace mapl::chaos {
namespace {

// Four stages, each with a key of its own, that reach each other through proxies.
class Network {
 public:
  explicit Network(const train::SmallRun& place) : place_(place) {
    for (int k = 0; k < kStages; ++k) {
      const auto identity = link::generate_identity();
      const Status written = link::write_secret_key(key_file(k), identity);
      if (!written.is_ok()) throw UserError(written.message());
      public_keys_.push_back(identity.public_key);
    }
    for (int k = 1; k < kStages; ++k) {
      inner_.push_back(link::free_port());
      outer_.push_back(link::free_port());
      proxies_.push_back(std::make_unique<Proxy>(outer_.back(), inner_.back()));
    }
  }

  // As a user or a scheduler starts it, and starts it again.
  std::unique_ptr<Process> start(int stage, const std::string& folder, int steps) const {
    // It listens at its own port; the stage before reaches it through the proxy.
    std::string ends = fmt::format("{{public_key=\"{}\"}}", public_keys_[0]);
    for (int j = 1; j < kStages; ++j) {
      const auto at = static_cast<size_t>(j - 1);
      ends += fmt::format(",{{endpoint=\"tcp://127.0.0.1:{}\",public_key=\"{}\"}}",
                          j == stage ? inner_[at] : outer_[at], public_keys_[at + 1]);
    }
    auto sets = small_sets(steps);
    sets.push_back("link.stages=[" + ends + "]");
    return std::make_unique<Process>(
        with_sets({mapl_path(), "stage", place_.recipe_file(), "--quiet", "--stage",
                   std::to_string(stage), "--key", key_file(stage), "--run", folder},
                  sets),
        place_.folder() + "/output");
  }

  // One thing that can happen to a link.
  std::string disturb(std::mt19937& random) {
    const auto pick = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
    const int link = pick(kStages - 1);
    Proxy& proxy = *proxies_[static_cast<size_t>(link)];
    switch (pick(12)) {
      case 0:
      case 1:
        proxy.cut(1);
        return fmt::format("link {} cut for 1 s", link);
      case 2:
      case 3:
        proxy.freeze(6, true, true);
        return fmt::format("link {} half open for 6 s", link);
      case 4:
      case 5: {
        const bool forth = pick(2) == 0;
        proxy.freeze(6, forth, !forth);
        return fmt::format("link {} one way for 6 s", link);
      }
      case 6:
      case 7:
        proxy.cut(5);
        return fmt::format("link {} cut for 5 s", link);
      case 8:
        proxy.cut(30);
        return fmt::format("link {} cut for 30 s", link);
      default:
        proxy.reset();
        return fmt::format("link {} reset", link);
    }
  }

 private:
  std::string key_file(int stage) const { return fmt::format("{}/key-{}", place_.folder(), stage); }

  const train::SmallRun& place_;
  std::vector<std::string> public_keys_;
  std::vector<int> inner_, outer_;
  std::vector<std::unique_ptr<Proxy>> proxies_;
};

}  // namespace

int run_cut(const CutOptions& options) {
  const train::SmallRun place;
  const std::string expected = place.folder() + "/expected";
  Process undisturbed(train_arguments(place, expected, options.steps), place.folder() + "/output");
  const int64_t start = now_ns();
  if (undisturbed.wait(kPatience) != 0) {
    fmt::print("the undisturbed run fails\n");
    return 1;
  }
  const double alone = 1e-9 * static_cast<double>(now_ns() - start);
  Network network(place);
  std::mt19937 random(options.seed);
  std::map<std::string, int> happened;
  Tally tally;
  for (int done = 0; done < options.events;) {
    const std::string folder = place.folder() + "/run";
    std::filesystem::remove_all(folder);
    std::vector<std::unique_ptr<Process>> stages;
    for (int k = 0; k < kStages; ++k) stages.push_back(network.start(k, folder, options.steps));
    std::string what;
    // All that can happen to a run takes 90 s.
    const Deadline deadline = in_seconds(kPatience + 90 + 4 * alone);
    const auto runs = [&] {
      return std::all_of(stages.begin(), stages.end(),
                         [](const auto& p) { return p->is_running(); });
    };
    // Up to three things happen to a run, somewhere along the way.
    for (int i = 0; i < 3 && runs() && done < options.events; ++i) {
      const double pause = std::uniform_real_distribution<double>(0, alone)(random);
      poll(nullptr, 0, static_cast<int>(1000 * pause));
      if (!runs()) break;
      std::string event = "stage killed and started by hand";
      if (std::uniform_int_distribution<int>(0, 7)(random) == 0) {
        const int victim = std::uniform_int_distribution<int>(0, kStages - 1)(random);
        auto& stage = stages[static_cast<size_t>(victim)];
        stage->signal(SIGKILL);
        (void)stage->wait(kPatience);
        stage = network.start(victim, folder, options.steps);
        what += fmt::format("stage {} killed; ", victim);
      } else {
        const std::string disturbance = network.disturb(random);
        what += disturbance + "; ";
        event = disturbance.substr(7);
        ++done;
      }
      ++happened[event];
    }
    int code = 0;
    for (const auto& stage : stages) {
      const auto left = std::chrono::duration<double>(deadline - Clock::now()).count();
      const int ended = stage->wait(std::max(left, 0.0));
      if (ended != 0 && code == 0) code = ended;
    }
    count(tally, code, folder, expected, what,
          train::json_lines(folder + "/events.jsonl").size() > 1);
  }
  fmt::print("| event | times |\n| --- | --- |\n");
  for (const auto& [what, times] : happened) fmt::print("| {} | {} |\n", what, times);
  fmt::print("\n{} runs, {} of them broken off: {} with another result, {} hung, {} failed\n",
             tally.runs, tally.broken, tally.different, tally.hung, tally.failed);
  return tally.is_good() ? 0 : 1;
}

}  // namespace mapl::chaos
