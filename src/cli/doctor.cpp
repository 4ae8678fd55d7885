#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "cli/commands.h"
#include "link/curve_keys.h"
#include "link/hello.h"
#include "link/probe.h"
#include "train/assembly.h"
#include "train/compute.h"
#include "train/links.h"
#include "train/recipe.h"
#include "train/run_folder.h"
#include "train/version.h"

namespace mapl::cli {
namespace {

constexpr double kSkewThatMatters =
    1000;  // ms: logs of two machines can no longer be laid together
constexpr double kRoundTripThatMatters = 5;  // ms
constexpr double kKnockSeconds = 3;
constexpr double kGiB = 1 << 30;
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

// What makes a run slower or harder to read than it need be; no problem.
void advise(const std::string& what, const std::string& advice) {
  fmt::print("advice   {}\n         {}\n", what, advice);
}

// What the stage's checkpoints take on its disk when most of them are there, about.
double checkpoints_gib(const train::Recipe& recipe, int stage) {
  const auto bytes = static_cast<double>(train::state_bytes_at_start(recipe, stage));
  const auto& checkpoint = recipe.checkpoint;
  const int64_t all =
      checkpoint.interval > 0 ? recipe.training.steps / checkpoint.interval : int64_t{0};
  const int64_t kept = checkpoint.keep_latest_k > 0 ? checkpoint.keep_latest_k : all;
  return bytes * (static_cast<double>(kept) + 1) / kGiB;  // the old ones go when the new is there
}

bool check_disk(const train::Recipe& recipe, const Options& options) {
  const std::string folder = train::checkpoint_root(recipe, options.run);
  std::filesystem::path place = folder;
  while (!place.empty() && !std::filesystem::exists(place)) place = place.parent_path();
  struct statvfs disk {};
  const std::string path = place.empty() ? "." : place.string();
  if (statvfs(path.c_str(), &disk) != 0) {
    tell(false, "the folder " + path + " cannot be looked at", "choose another with --run");
    return false;
  }
  const double free_gib =
      static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) / kGiB;
  const double needed_gib = checkpoints_gib(recipe, options.stage);
  const bool roomy = free_gib >= needed_gib;
  tell(roomy,
       fmt::format("{:.1f} GiB free in {}, where checkpoints of this stage take about {:.{}f} GiB",
                   free_gib, folder, needed_gib, needed_gib < 1 ? 3 : 1),
       "make room, choose another disk with --run or checkpoint.folder, or keep fewer "
       "(checkpoint.keep_latest_k)");
  return roomy;
}

bool check_machine(const train::Recipe& recipe, const Options& options) {
  train::check_device(recipe.training.device);
  const std::string blas = train::blas_problem();
  tell(blas.empty(), blas.empty() ? "BLAS is a fast one" : blas);
  const bool roomy = check_disk(recipe, options);
  return blas.empty() && roomy;
}

void advise_slow_start(double round_trip_ms) {
  std::ifstream setting(kSlowStart);
  if (round_trip_ms < kRoundTripThatMatters || setting.get() != '1') return;
  advise(fmt::format("TCP starts slowly again after each pause, and a stage pauses in every step; "
                     "a round trip of {:.0f} ms can cost a step several of them (docs/netlab.md)",
                     round_trip_ms),
         "on this machine, as root: sysctl -w net.ipv4.tcp_slow_start_after_idle=0");
}

link::Hello hello_of(const train::Recipe& recipe, int stage) {
  return {.mapl_version = train::kVersion,
          .recipe_hash = train::hash(recipe),
          .stage = static_cast<uint32_t>(stage),
          .num_stages = static_cast<uint32_t>(recipe.pipeline.stages)};
}

// One neighbour, and how far it was got with.
struct Neighbour {
  int stage = 0;
  bool has_keys = false;
  train::Meeting meeting;
  link::ZmqLink* way = nullptr;  // inside of `link`
  link::Link* link = nullptr;
  Status met, greeted;
  Result<link::ProbeReport> report = Status(Code::kClosed, "not measured");
};

Neighbour neighbour_of(const train::Recipe& recipe, int own, int stage, link::ZmqLink* way) {
  return {.stage = stage,
          .has_keys = !recipe.link.stages.at(static_cast<size_t>(stage)).public_key.empty(),
          .meeting = train::meeting_of(recipe, own, stage),
          .way = way};
}

// Who listens where, and as what the other end knows it.
void tell_meeting(const Neighbour& neighbour) {
  if (neighbour.meeting.listens) {
    fmt::print("         listening at {} for stage {}, advertised as {}\n",
               neighbour.way->bound_endpoint(), neighbour.stage, neighbour.meeting.endpoint);
  } else {
    fmt::print("         connecting to stage {} at {}\n", neighbour.stage,
               neighbour.meeting.endpoint);
  }
}

void examine(const train::Recipe& recipe, const Options& options, std::stop_token stop,
             Neighbour& neighbour) {
  neighbour.met =
      train::wait_connected(*neighbour.way, in_seconds(recipe.link.connect_seconds), stop);
  if (!neighbour.met.is_ok()) return;
  neighbour.greeted =
      link::greet(*neighbour.link, hello_of(recipe, options.stage),
                  hello_of(recipe, neighbour.stage), in_seconds(recipe.link.connect_seconds));
  if (!neighbour.greeted.is_ok()) return;
  neighbour.report = link::probe(
      *neighbour.link, {.leads = options.stage < neighbour.stage, .seconds = options.seconds});
  (void)neighbour.link->flush(in_seconds(5));
}

// Why there is no link, as far as this end can know.
void tell_missing(const Neighbour& neighbour) {
  const std::string name = fmt::format("stage {}", neighbour.stage);
  const std::string& endpoint = neighbour.meeting.endpoint;
  if (neighbour.met.code() != Code::kTimeout) {  // the message says what to do
    return tell(false, fmt::format("no link to {}: {}", name, neighbour.met.message()));
  }
  if (neighbour.meeting.listens) {
    return tell(false,
                fmt::format("{} is not reachable: it has not connected to {}", name,
                            neighbour.way->bound_endpoint()),
                fmt::format("is doctor running there, does a firewall or router let the port "
                            "through to this machine, and can the machine of {} reach {}?",
                            name, endpoint));
  }
  const Status found = link::knock(endpoint, in_seconds(kKnockSeconds));
  std::string advice = "check the address in the recipe, and this machine's network";
  if (found.is_ok()) {
    advice = "is something else in its place, or is that stage busy with another run?";
  } else if (found.code() == Code::kRefused) {
    advice = "is doctor running there, and is this the port that it listens at?";
  } else if (found.code() == Code::kTimeout) {
    advice = "is that machine on, and does a firewall or router there let the port through?";
  }
  tell(false,
       fmt::format("{} is not reachable at {}: {}", name, endpoint,
                   found.is_ok() ? "what listens there does not answer" : found.message()),
       advice);
}

void tell_clocks(const std::string& name, const link::ProbeReport& report) {
  const bool could_be_equal = report.there_ms() >= 0 && report.back_ms() >= 0;
  tell(true,
       fmt::format("{}: round trip {:.1f} ms (median {:.1f} ms); one way {}", name,
                   report.round_trip_ms, report.median_round_trip_ms,
                   could_be_equal
                       ? fmt::format("{:.1f} ms there, {:.1f} ms back, if the clocks are equal",
                                     report.there_ms(), report.back_ms())
                       : "cannot be told: the clocks are not equal"));
  const std::string skew =
      fmt::format("{}: its clock is {:.0f} ms {} this one's, give or take {:.1f} ms", name,
                  std::abs(report.clock_ahead_ms),
                  report.clock_ahead_ms >= 0 ? "ahead of" : "behind", report.round_trip_ms / 2);
  if (std::abs(report.clock_ahead_ms) < kSkewThatMatters) return tell(true, skew);
  advise(skew,
         "let both machines keep time (NTP): training does not mind, reading their logs together "
         "does");
}

bool tell_of(const Neighbour& neighbour) {
  const std::string name = fmt::format("stage {}", neighbour.stage);
  if (!neighbour.met.is_ok()) {
    tell_missing(neighbour);
    return false;
  }
  if (!neighbour.greeted.is_ok()) {
    tell(false, fmt::format("{} is reachable, and: {}", name, neighbour.greeted.message()));
    return false;
  }
  tell(true, fmt::format("{} is reachable, has {}, the same version and recipe", name,
                         neighbour.has_keys ? "the right key" : "no key"));
  if (!neighbour.report.is_ok()) {
    tell(false,
         fmt::format("the link to {} failed while it was measured: {}", name,
                     neighbour.report.status().message()),
         "run doctor on all stages at the same time");
    return false;
  }
  const link::ProbeReport& report = neighbour.report.value();
  tell(true, fmt::format("{}: {:.1f} Mbit/s there, {:.1f} Mbit/s back", name, report.send_mbps,
                         report.recv_mbps));
  tell_clocks(name, report);
  return true;
}

// Each neighbour by itself, so that one that is missing hides nothing of the other; each is told of
// as soon as all is known.
bool check_neighbours(const train::Recipe& recipe, const Options& options, std::stop_token stop) {
  std::optional<link::CurveIdentity> identity;
  if (!options.key.empty()) identity = link::read_secret_key(options.key);
  link::ZmqContext context;
  auto started = train::start_links(recipe, options.stage,
                                    {.max_prev_payload_bytes = link::kProbePayloadBytes,
                                     .max_next_payload_bytes = link::kProbePayloadBytes,
                                     .max_queued_bytes = link::kProbeQueuedBytes},
                                    context, identity);
  std::vector<Neighbour> neighbours;
  for (link::ZmqLink* way : {started.prev.get(), started.next.get()}) {
    if (way == nullptr) continue;
    const int stage = options.stage + (way == started.prev.get() ? -1 : 1);
    neighbours.push_back(neighbour_of(recipe, options.stage, stage, way));
    tell_meeting(neighbours.back());
  }
  fmt::print("         waiting up to {:.0f} s for the neighbours to run doctor too\n",
             recipe.link.connect_seconds);
  std::fflush(stdout);
  const auto links = train::shaped(recipe, {std::move(started.prev), std::move(started.next)});
  bool well = true;
  std::mutex telling;
  std::vector<std::jthread> threads;
  for (Neighbour& neighbour : neighbours) {
    neighbour.link = (neighbour.stage < options.stage ? links.prev : links.next).get();
    threads.emplace_back([&] {
      examine(recipe, options, stop, neighbour);
      std::lock_guard lock(telling);
      well = tell_of(neighbour) && well;
    });
  }
  threads.clear();
  double round_trip_ms = 0;
  for (const Neighbour& neighbour : neighbours) {
    if (!neighbour.report.is_ok()) continue;
    round_trip_ms = std::max(round_trip_ms, neighbour.report.value().median_round_trip_ms);
  }
  advise_slow_start(round_trip_ms);
  return well;
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
  fmt::print("mapl {}, stage {} of {}, recipe {:016x}\n", train::kVersion, options.stage,
             recipe.pipeline.stages, train::hash(recipe));
  const bool machine_is_well = check_machine(recipe, options);
  const auto& link = recipe.link;
  if (link.bandwidth_mbps > 0 || link.latency_ms > 0) {
    advise("the recipe slows the links down on purpose, and that is what is measured here",
           fmt::format("for the lines as they are set link.bandwidth_mbps ({}) and "
                       "link.latency_ms ({}) to 0",
                       link.bandwidth_mbps, link.latency_ms));
  }
  const bool neighbours_are_well = check_neighbours(recipe, options, stop);
  return machine_is_well && neighbours_are_well ? 0 : 1;
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
