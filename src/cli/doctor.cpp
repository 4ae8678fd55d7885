#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cli/commands.h"
#include "link/curve_keys.h"
#include "link/hello.h"
#include "link/probe.h"
#include "train/compute.h"
#include "train/links.h"
#include "train/recipe.h"
#include "train/version.h"

namespace mapl::cli {
namespace {

constexpr double kSkewThatMatters =
    1000;  // ms: logs of two machines can no longer be laid together
constexpr double kLeastFreeGiB = 2;
constexpr double kRoundTripThatMatters = 5;  // ms
constexpr const char* kSlowStart = "/proc/sys/net/ipv4/tcp_slow_start_after_idle";

struct Options {
  RecipeOptions recipe;
  int stage = 0;
  std::string run = "runs/latest";
  std::string key;
  double seconds = 2;
};

// A line of what was found; `advice` when it is not well.
void tell(bool well, const std::string& what, const std::string& advice = "") {
  fmt::print("{}  {}\n", well ? "ok     " : "PROBLEM", what);
  if (!well && !advice.empty()) fmt::print("         {}\n", advice);
  std::fflush(stdout);
}

bool check_machine(const Options& options) {
  const std::string blas = train::blas_problem();
  tell(blas.empty(), blas.empty() ? "BLAS is a fast one" : blas);
  std::filesystem::path place = options.run;
  while (!place.empty() && !std::filesystem::exists(place)) place = place.parent_path();
  struct statvfs disk {};
  const std::string path = place.empty() ? "." : place.string();
  if (statvfs(path.c_str(), &disk) != 0) {
    tell(false, "the folder " + path + " cannot be looked at", "choose another with --run");
    return false;
  }
  const double free_gib =
      static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) / (1 << 30);
  const bool roomy = free_gib >= kLeastFreeGiB;
  tell(roomy, fmt::format("{:.1f} GiB free for checkpoints in {}", free_gib, options.run),
       "make room, or choose another disk with --run");
  return blas.empty() && roomy;
}

// Who listens where, as the others know it.
void tell_endpoints(const train::Recipe& recipe, int stage) {
  const auto& stages = recipe.link.stages;
  const auto& own = stages.at(static_cast<size_t>(stage));
  const auto count = static_cast<int>(stages.size());
  if (stage > 0 && !own.endpoint.empty()) {
    fmt::print("         listening at {} for stage {}\n", own.endpoint, stage - 1);
  }
  if (stage + 1 < count && stages[static_cast<size_t>(stage) + 1].endpoint.empty()) {
    fmt::print("         listening at {} for stage {}\n", own.next_endpoint, stage + 1);
  }
}

// What makes a run slower than it need be; no problem.
void advise_slow_start(double round_trip_ms) {
  std::ifstream setting(kSlowStart);
  if (round_trip_ms < kRoundTripThatMatters || setting.get() != '1') return;
  fmt::print(
      "advice   TCP starts slowly again after each pause, and a stage pauses in every step; a "
      "round trip of {:.0f} ms can cost a step several of them (docs/netlab.md)\n"
      "         on this machine, as root: sysctl -w net.ipv4.tcp_slow_start_after_idle=0\n",
      round_trip_ms);
}

link::Hello hello_of(const train::Recipe& recipe, int stage) {
  return {.mapl_version = train::kVersion,
          .recipe_hash = train::hash(recipe),
          .stage = static_cast<uint32_t>(stage),
          .num_stages = static_cast<uint32_t>(recipe.pipeline.stages)};
}

// One neighbour, from the greeting on.
struct Neighbour {
  int stage = 0;
  link::Link* link = nullptr;
  Status greeted;
  Result<link::ProbeReport> report = Status(Code::kClosed, "not measured");
};

void examine(const train::Recipe& recipe, const Options& options, Neighbour& neighbour) {
  neighbour.greeted =
      link::greet(*neighbour.link, hello_of(recipe, options.stage),
                  hello_of(recipe, neighbour.stage), in_seconds(recipe.link.connect_seconds));
  if (!neighbour.greeted.is_ok()) return;
  neighbour.report = link::probe(
      *neighbour.link, {.leads = options.stage < neighbour.stage, .seconds = options.seconds});
  (void)neighbour.link->flush(in_seconds(5));
}

bool tell_of(const Neighbour& neighbour) {
  const std::string name = fmt::format("stage {}", neighbour.stage);
  if (!neighbour.greeted.is_ok()) {
    tell(false, fmt::format("{} is reachable, and: {}", name, neighbour.greeted.message()));
    return false;
  }
  tell(true, name + " is reachable, has the right key, the same version and recipe");
  if (!neighbour.report.is_ok()) {
    tell(false,
         fmt::format("the link to {} failed while it was measured: {}", name,
                     neighbour.report.status().message()),
         "run doctor on all stages at the same time");
    return false;
  }
  const link::ProbeReport& report = neighbour.report.value();
  tell(true, fmt::format("{}: {:.1f} Mbit/s there, {:.1f} Mbit/s back, round trip {:.1f} ms "
                         "(median {:.1f} ms)",
                         name, report.send_mbps, report.recv_mbps, report.round_trip_ms,
                         report.median_round_trip_ms));
  const bool together = std::abs(report.clock_ahead_ms) < kSkewThatMatters;
  tell(
      together,
      fmt::format("{}: its clock is {:.0f} ms {} this one's", name, std::abs(report.clock_ahead_ms),
                  report.clock_ahead_ms >= 0 ? "ahead of" : "behind"),
      "let both machines keep time (NTP): training does not mind, reading their logs together "
      "does");
  return true;
}

int doctor(const Options& options, std::stop_token stop) {
  const train::Recipe recipe = train::load_recipe(options.recipe.path, options.recipe.overrides);
  if (options.stage < 0 || options.stage >= recipe.pipeline.stages) {
    throw UserError(fmt::format("--stage is {}; pipeline.stages is {}, so it must be 0 to {}",
                                options.stage, recipe.pipeline.stages, recipe.pipeline.stages - 1));
  }
  if (recipe.link.stages.empty()) {
    throw UserError(
        "the recipe has no link.stages: there is nothing to reach; mapl train runs all "
        "stages on this machine");
  }
  std::optional<link::CurveIdentity> identity;
  if (!options.key.empty()) identity = link::read_secret_key(options.key);
  fmt::print("mapl {}, stage {} of {}, recipe {:016x}\n", train::kVersion, options.stage,
             recipe.pipeline.stages, train::hash(recipe));
  bool well = check_machine(options);
  const auto& link = recipe.link;
  if (link.bandwidth_mbps > 0 || link.latency_ms > 0) {
    fmt::print(
        "advice   the recipe slows the links down on purpose, and that is what is measured here\n"
        "         for the lines as they are set link.bandwidth_mbps ({}) and link.latency_ms ({}) "
        "to 0\n",
        link.bandwidth_mbps, link.latency_ms);
  }
  tell_endpoints(recipe, options.stage);
  fmt::print("         waiting up to {:.0f} s for the neighbours to run doctor too\n",
             recipe.link.connect_seconds);
  std::fflush(stdout);

  link::ZmqContext context;
  auto links = train::open_links(
      recipe, options.stage,
      {.max_prev_payload_bytes = link::kProbePayloadBytes,
       .max_next_payload_bytes = link::kProbePayloadBytes,
       .max_queued_bytes = link::kProbeQueuedBytes},
      context, {.identity = identity, .seconds = recipe.link.connect_seconds, .stop = stop});
  if (!links.is_ok()) {
    tell(false, links.status().message(),
         "is doctor running there, does a firewall or router let the port through, and is the "
         "address in the recipe the one that this machine can reach?");
    return 1;
  }
  std::vector<Neighbour> neighbours;
  if (links.value().prev) neighbours.push_back({options.stage - 1, links.value().prev.get()});
  if (links.value().next) neighbours.push_back({options.stage + 1, links.value().next.get()});
  {
    std::vector<std::jthread> threads;
    for (Neighbour& neighbour : neighbours) {
      threads.emplace_back([&] { examine(recipe, options, neighbour); });
    }
  }
  double round_trip_ms = 0;
  for (const Neighbour& neighbour : neighbours) {
    well = tell_of(neighbour) && well;
    if (!neighbour.report.is_ok()) continue;
    round_trip_ms = std::max(round_trip_ms, neighbour.report.value().median_round_trip_ms);
  }
  advise_slow_start(round_trip_ms);
  return well ? 0 : 1;
}

}  // namespace

Command add_doctor(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand(
      "doctor", "Before a run across machines: can this stage reach its neighbours, how fast");
  add_recipe_options(*app, options->recipe);
  app->add_option("--stage", options->stage, "Which stage this machine is, from 0")->required();
  app->add_option("--run", options->run, "Folder of the run to come")->capture_default_str();
  app->add_option("--key", options->key, "This stage's secret key file (mapl keygen)");
  app->add_option("--seconds", options->seconds, "How long each direction is measured")
      ->check(CLI::Range(0.1, 600.0))
      ->capture_default_str();
  return {app, [options](std::stop_token stop) { return doctor(*options, stop); }};
}

}  // namespace mapl::cli
