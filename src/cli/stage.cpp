#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <ctime>
#include <optional>

#include "base/log.h"
#include "cli/commands.h"
#include "link/curve_keys.h"
#include "link/zmq.h"
#include "train/compute.h"
#include "train/links.h"
#include "train/post_mortem.h"
#include "train/run.h"
#include "train/run_folder.h"

namespace mapl::cli {
namespace {

struct Options {
  RecipeOptions recipe;
  int stage = -1;  // not given
  std::string run = "runs/latest";
  std::string key;
  bool resume = false;
  bool quiet = false;
  bool trace = false;
  std::string break_at;
};

using OnBegin = std::function<void(const std::string& name, uint64_t step, int micro_batch)>;

// WHY the kernel: a thread of this process that is to do it may get its turn when the run is over.
void kill_after(uint64_t delay_us) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(delay_us / 1'000'000);
  when.it_value.tv_nsec = static_cast<long>(delay_us % 1'000'000) * 1000;
  timer_t timer{};
  const bool is_set = delay_us > 0 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
                      timer_settime(timer, 0, &when, nullptr) == 0;
  if (!is_set) raise(SIGKILL);
}

// "send vote:12" or, with microseconds until then, "forward 3:12+250": what kills this process when
// it begins, in that step or later; forward 3 is that of micro-batch 3.
OnBegin breaker(const std::string& text) {
  if (text.empty()) return [](const std::string&, uint64_t, int) {};
  const size_t colon = text.rfind(':');
  uint64_t from = 0, delay_us = 0;
  const auto* end = text.data() + text.size();
  bool is_good = colon != std::string::npos;
  if (is_good) {
    auto [at, error] = std::from_chars(text.data() + colon + 1, end, from);
    if (at != end && *at == '+') at = std::from_chars(at + 1, end, delay_us).ptr;
    is_good = error == std::errc() && at == end;
  }
  if (!is_good) {
    throw UserError("--break-at is '" + text + "'; it must be 'what:step', such as 'send vote:12'");
  }
  return [name = text.substr(0, colon), from, delay_us, is_due = true](
             const std::string& begun, uint64_t step, int micro_batch) mutable {
    const bool is_meant = begun == name || fmt::format("{} {}", begun, micro_batch) == name;
    if (!is_due || !is_meant || step < from) return;
    is_due = false;
    kill_after(delay_us);
  };
}

// Which stage this is: the launcher's word for c10d, else the user's.
void settle_stage(Options& options, const train::Recipe& recipe,
                  const std::optional<link::Launch>& launch) {
  const std::string range = fmt::format("0 to {}", recipe.pipeline.stages - 1);
  if (launch) {
    if (options.stage >= 0 && options.stage != launch->stage) {
      throw UserError(
          fmt::format("--stage is {}, and {} has made this process stage {}: leave "
                      "--stage away",
                      options.stage, launch->launcher, launch->stage));
    }
    options.stage = launch->stage;
    return;
  }
  if (options.stage < 0) {
    throw UserError(
        fmt::format("--stage is missing: say which of {} this is (a launcher says it "
                    "where link.kind is \"c10d\")",
                    range));
  }
  if (options.stage >= recipe.pipeline.stages) {
    throw UserError(fmt::format("--stage is {}; pipeline.stages is {}, so it must be {}",
                                options.stage, recipe.pipeline.stages, range));
  }
  if (recipe.link.stages.empty() && recipe.pipeline.stages > 1) {
    throw UserError(
        "the recipe has no link.stages: mapl stage needs the endpoint of every stage; "
        "to train on this machine alone use mapl train");
  }
}

// What a user at the terminal waits for, and what he may not have meant.
void tell_of_links(const train::Recipe& recipe, const Options& options) {
  const auto& link = recipe.link;
  const bool is_local = std::none_of(link.stages.begin(), link.stages.end(), [](const auto& peer) {
    return peer.endpoint.starts_with("tcp://") || peer.next_endpoint.starts_with("tcp://");
  });
  if (is_local) return;
  if (link.bandwidth_mbps > 0 || link.latency_ms > 0) {
    spdlog::warn(
        "the recipe slows the links down on purpose: link.bandwidth_mbps = {}, link.latency_ms = "
        "{}; set both to 0 for the lines as they are",
        link.bandwidth_mbps, link.latency_ms);
  }
  if (!options.quiet) {
    fmt::print("stage {}: waiting up to {:.0f} s for its neighbours\n", options.stage,
               link.connect_seconds);
    std::fflush(stdout);
  }
}

int run_stage(Options options, std::stop_token stop) {
  const train::Recipe recipe = train::load_recipe(options.recipe.path, options.recipe.overrides);
  std::optional<link::Launch> launch;
  if (recipe.link.kind == "c10d") {
    launch = train::launch_of(recipe, link::process_environment());
  }
  settle_stage(options, recipe, launch);
  train::check_device(recipe.training.device);
  use_blas_threads(recipe.training.threads);
  train::set_compute_threads(recipe.training.threads);
  std::optional<link::CurveIdentity> identity;
  if (!options.key.empty()) identity = link::read_secret_key(options.key);
  if (options.resume) {
    train::resume_run_folder(recipe, options.run, options.stage);
  } else {
    train::ensure_run_folder(recipe, options.run);
  }
  log_to_file(fmt::format("{}/logs/stage-{}.jsonl", options.run, options.stage), options.stage);

  train::Assembly assembly(recipe, options.stage);
  const std::string& from = recipe.training.init_from;
  if (!from.empty()) train::start_from(train::load_weights(from), from, options.stage, assembly);
  link::ZmqContext context;
  train::LastBegun last_begun(options.run, options.stage);
  pipeline::Trace trace(
      {.stage = options.stage,
       .path = options.trace ? train::trace_path(options.run, options.stage) : "",
       .on_begin = [&, breaks = breaker(options.break_at)](const std::string& name, uint64_t step,
                                                           int micro_batch) mutable {
         last_begun.note(name, step, micro_batch);
         breaks(name, step, micro_batch);
       }});
  train::Trainer trainer(recipe, options.stage, assembly, &trace);
  train::RunOptions run{
      .folder = options.run, .show_progress = !options.quiet, .stop = stop, .trace = &trace};
  std::unique_ptr<link::C10dContext> c10d;
  train::StageLinks c10d_links;
  if (launch) {
    auto started = train::start_c10d(recipe, *launch);
    if (!started.is_ok()) throw RunError(started.status());
    c10d = std::move(started.value());
    auto links =
        train::open_c10d_links(recipe, options.stage, assembly, *c10d, recipe.link.connect_seconds);
    if (!links.is_ok()) throw RunError(links.status());
    c10d_links = std::move(links.value());
    trainer.connect(c10d_links.prev.get(), c10d_links.next.get());
  } else {
    tell_of_links(recipe, options);
    run.open_links = [&](double seconds) {
      return train::open_links(recipe, options.stage, train::limits_of(recipe, assembly), context,
                               {.identity = identity, .seconds = seconds, .stop = stop});
    };
  }
  try {
    const Status status = train::run_stage(recipe, options.stage, assembly, trainer, run);
    if (!status.is_ok()) throw RunError(status);
  } catch (...) {
    // mapl train, if it has started this process, writes a page that knows how the others ended.
    std::vector<std::string> ends(static_cast<size_t>(recipe.pipeline.stages), "not known here");
    ends.at(static_cast<size_t>(options.stage)) = "with an error";
    (void)train::write_post_mortem(options.run, ends);
    throw;
  }
  train::say_goodbye(c10d_links);
  return 0;
}

}  // namespace

Command add_stage(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parser.add_subcommand("stage", "Run one stage of a run across machines");
  add_recipe_options(*app, options->recipe);
  app->add_option("--stage", options->stage, "Which stage, from 0; c10d has it from the launcher")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--run", options->run, "Folder of this run")->capture_default_str();
  app->add_option("--key", options->key, "This stage's secret key file (mapl keygen)");
  app->add_flag("--resume", options->resume,
                "Go on from its latest checkpoint with other keys of the recipe, on all stages");
  app->add_flag("--trace", options->trace,
                "Write what this stage does, and when: logs/stage-<k>.trace.json");
  app->add_option("--break-at", options->break_at, "For tests of recovery")->group("");
  app->add_flag("--quiet", options->quiet, "No progress on the terminal");
  return {app, [options](std::stop_token stop) { return run_stage(*options, stop); }};
}

}  // namespace mapl::cli
