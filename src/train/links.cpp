#include "train/links.h"

#include <fmt/format.h>

#include <bit>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "link/inproc.h"
#include "link/shaped.h"
#include "train/trainer.h"

namespace mapl::train {
namespace {

constexpr double kGoodbyeSeconds = 5;
constexpr double kLookSeconds = 0.2;  // how often a wait looks at whether it should stop

link::LinkOptions link_options(int neighbour, uint64_t max_payload_bytes) {
  return {.peer = fmt::format("stage {}", neighbour), .max_payload_bytes = max_payload_bytes};
}

// One of the two links, not waited for.
std::unique_ptr<link::ZmqLink> start_link(const Recipe& recipe, int stage, int neighbour,
                                          link::LinkOptions link, link::ZmqContext& context,
                                          const std::optional<link::CurveIdentity>& identity) {
  Meeting meeting = meeting_of(recipe, stage, neighbour);
  link.peer = fmt::format("stage {}", neighbour);
  return context.start(
      {.link = std::move(link),
       .endpoint = std::move(meeting.endpoint),
       .bind = meeting.listens,
       .own = identity,
       .peer_public_key = recipe.link.stages[static_cast<size_t>(neighbour)].public_key});
}

void check_identity(const Recipe& recipe, int stage,
                    const std::optional<link::CurveIdentity>& identity) {
  const std::string& named = recipe.link.stages.at(static_cast<size_t>(stage)).public_key;
  if (named.empty() && !identity) return;
  if (!identity) {
    throw UserError(
        fmt::format("the recipe names public keys, and stage {} has no secret key; "
                    "give its file with --key",
                    stage));
  }
  if (named != identity->public_key) {
    throw UserError(
        fmt::format("the key of stage {} is {}, but link.stages[{}].public_key is {}; "
                    "correct the recipe or give the key file that belongs to it",
                    stage, identity->public_key, stage, named.empty() ? "missing" : named));
  }
}

}  // namespace

LinkLimits limits_of(const Recipe& recipe, Assembly& assembly) {
  LinkLimits limits;
  if (assembly.prev_end() != nullptr) {
    limits.max_prev_payload_bytes = prev_payload_limit(recipe, assembly);
  }
  if (assembly.next_end() != nullptr) {
    limits.max_next_payload_bytes = next_payload_limit(recipe, assembly);
  }
  return limits;
}

Meeting meeting_of(const Recipe& recipe, int stage, int neighbour) {
  const auto& stages = recipe.link.stages;
  const Recipe::Peer& later = stages.at(static_cast<size_t>(std::max(stage, neighbour)));
  const Recipe::Peer& earlier = stages.at(static_cast<size_t>(std::min(stage, neighbour)));
  const bool later_listens = !later.endpoint.empty();
  return {.endpoint = later_listens ? later.endpoint : earlier.next_endpoint,
          .listens = later_listens == (stage > neighbour)};
}

StartedLinks start_links(const Recipe& recipe, int stage, const LinkLimits& limits,
                         link::ZmqContext& context,
                         const std::optional<link::CurveIdentity>& identity) {
  check_identity(recipe, stage, identity);
  StartedLinks links;
  if (stage > 0) {
    links.prev = start_link(recipe, stage, stage - 1,
                            {.max_payload_bytes = limits.max_prev_payload_bytes,
                             .max_queued_bytes = limits.max_queued_bytes},
                            context, identity);
  }
  if (stage + 1 < recipe.pipeline.stages) {
    links.next = start_link(recipe, stage, stage + 1,
                            {.max_payload_bytes = limits.max_next_payload_bytes,
                             .max_queued_bytes = limits.max_queued_bytes},
                            context, identity);
  }
  return links;
}

Status wait_connected(link::ZmqLink& link, Deadline deadline, const std::stop_token& stop,
                      link::ZmqLink* other) {
  std::string said;
  unsigned times = 0;
  while (true) {
    const Status status = link.wait_connected(std::min(deadline, in_seconds(kLookSeconds)));
    if (status.is_ok() || Clock::now() >= deadline) return status;
    if (stop.stop_requested())
      return {Code::kClosed, "asked to stop while waiting for a neighbour"};
    // WHY: a neighbour that was there and has gone needs a new link, however long this one takes.
    // One that has said that the run is over is listened to when both are there, and passed on.
    const Status health = other == nullptr ? Status::ok() : other->health();
    if (!health.is_ok() && health.code() != Code::kEnded) return health;
    if (status.code() == Code::kTimeout) continue;
    const bool strangers = status.code() == Code::kRefused && link.health().is_ok();
    if (!strangers) return status;
    if (status.message() == said) continue;
    said = status.message();
    // Anyone can knock, and differently each time: the log must not fill the disk.
    if (std::has_single_bit(++times)) spdlog::warn("{}; still waiting", said);
  }
}

StageLinks shaped(const Recipe& recipe, StageLinks links) {
  const link::ShapeOptions shape{
      .bandwidth_mbps = recipe.link.bandwidth_mbps,
      .latency_ms = recipe.link.latency_ms,
      .meter = recipe.link.meter == "serial" ? link::Meter::kSerial : link::Meter::kPipelined};
  const auto wire = std::make_shared<link::SerialWire>();
  if (links.prev) links.prev = link::make_shaped(std::move(links.prev), shape, wire);
  if (links.next) links.next = link::make_shaped(std::move(links.next), shape, wire);
  return links;
}

Result<StageLinks> open_links(const Recipe& recipe, int stage, const LinkLimits& limits,
                              link::ZmqContext& context, const OpenOptions& options) {
  auto [prev, next] = start_links(recipe, stage, limits, context, options.identity);
  const Deadline deadline = in_seconds(options.seconds);
  for (const auto& [link, other] :
       {std::pair(prev.get(), next.get()), std::pair(next.get(), prev.get())}) {
    if (link == nullptr) continue;
    Status status = wait_connected(*link, deadline, options.stop, other);
    // WHY: a link that is well has not been refused by its neighbour. Who was turned away, or hung
    // up without a word, may be anyone or on the way: the neighbour may be late.
    const bool is_of_other = other != nullptr && !other->health().is_ok();
    if (status.code() == Code::kRefused && link->health().is_ok() && !is_of_other) {
      status = Status(Code::kTimeout, status.message());
    }
    if (!status.is_ok()) return status.in(fmt::format("stage {}", stage));
  }
  return shaped(recipe, {std::move(prev), std::move(next)});
}

link::Launch launch_of(const Recipe& recipe, const link::Environment& environment) {
  link::Launch launch = link::read_launch(environment);
  if (launch.num_stages != recipe.pipeline.stages) {
    throw UserError(
        fmt::format("{} has started {} processes, pipeline.stages is {}: start one for "
                    "each stage, or set pipeline.stages={}",
                    launch.launcher, launch.num_stages, recipe.pipeline.stages, launch.num_stages));
  }
  return launch;
}

Result<std::unique_ptr<link::C10dContext>> start_c10d(const Recipe& recipe,
                                                      const link::Launch& launch) {
  return link::C10dContext::start(
      {.launch = launch, .backend = recipe.link.backend, .device = recipe.training.device},
      in_seconds(recipe.link.connect_seconds));
}

Result<StageLinks> open_c10d_links(const Recipe& recipe, int stage, Assembly& assembly,
                                   link::C10dContext& context, double seconds) {
  const Deadline deadline = in_seconds(seconds);
  StageLinks links;
  // Waits for one neighbour after the other, in this order on every stage: stage 0 lets stage 1
  // through, which then waits for stage 2.
  if (stage > 0) {
    auto prev = context.open(
        stage - 1, link_options(stage - 1, prev_payload_limit(recipe, assembly)), deadline);
    if (!prev.is_ok()) return prev.status().in(fmt::format("stage {}", stage));
    links.prev = std::move(prev.value());
  }
  if (stage + 1 < recipe.pipeline.stages) {
    auto next = context.open(
        stage + 1, link_options(stage + 1, next_payload_limit(recipe, assembly)), deadline);
    if (!next.is_ok()) return next.status().in(fmt::format("stage {}", stage));
    links.next = std::move(next.value());
  }
  return shaped(recipe, std::move(links));
}

void say_goodbye(StageLinks& links) {
  for (const auto& link : {links.prev.get(), links.next.get()}) {
    if (link != nullptr) (void)link->flush(in_seconds(kGoodbyeSeconds));
  }
}

std::vector<StageLinks> make_inproc_links(
    const Recipe& recipe, const std::vector<std::unique_ptr<Assembly>>& assemblies) {
  std::vector<StageLinks> links(assemblies.size());
  for (size_t b = 0; b + 1 < links.size(); ++b) {
    const auto boundary = static_cast<int>(b);
    const uint64_t limit = next_payload_limit(recipe, *assemblies[b]);
    auto [next, prev] =
        link::make_inproc_pair(link_options(boundary + 1, limit), link_options(boundary, limit));
    links[b].next = std::move(next);
    links[b + 1].prev = std::move(prev);
  }
  for (StageLinks& stage : links) stage = shaped(recipe, std::move(stage));
  return links;
}

LocalEndpoints::LocalEndpoints(int64_t num_stages) {
  std::string pattern = (std::filesystem::temp_directory_path() / "mapl-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    throw UserError("cannot make a folder for sockets in " +
                    std::filesystem::temp_directory_path().string() + "; set TMPDIR to one");
  }
  folder_ = pattern;
  for (int64_t k = 0; k < num_stages; ++k) {
    peers_.push_back({.endpoint = fmt::format("ipc://{}/{}", folder_, k)});
  }
}

LocalEndpoints::~LocalEndpoints() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace mapl::train
