// mapl: the one executable for everything but text and tokens.
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/status.h"
#include "cli/commands.h"
#include "train/compute.h"
#include "train/version.h"

namespace {

// The first SIGINT or SIGTERM asks for a clean end; the second ends the process as usual.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::jthread([this](std::stop_token done) { wait(done); });
  }
  std::stop_token token() const { return source_.get_token(); }

 private:
  void wait(std::stop_token done) {
    const timespec look{.tv_sec = 0, .tv_nsec = 100'000'000};
    while (!done.stop_requested()) {
      const int signal = sigtimedwait(&set_, nullptr, &look);
      if (signal < 0) continue;
      if (source_.stop_requested()) _exit(128 + signal);
      source_.request_stop();
    }
  }

  sigset_t set_{};
  std::stop_source source_;
  std::jthread thread_;
};

int fail(int code, const char* message) {
  std::fprintf(stderr, "mapl: error: %s\n", message);
  spdlog::info("ended by an error: {}", message);  // for the log file; the terminal has it already
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  mapl::log_to_terminal();
  CLI::App parser("Train language models across machines joined by slow links.", "mapl");
  parser.set_version_flag("--version", std::string("mapl ") + mapl::train::kVersion);
  parser.require_subcommand(1);
  using namespace mapl::cli;
  const Command commands[] = {add_data(parser),   add_train(parser),  add_stage(parser),
                              add_eval(parser),   add_verify(parser), add_compare(parser),
                              add_report(parser), add_keygen(parser), add_doctor(parser)};
  std::string names;
  bool is_known = argc < 2 || argv[1][0] == '-';
  for (const Command& command : commands) {
    names += " " + command.app->get_name();
    is_known |= argc > 1 && command.app->get_name() == argv[1];
  }
  if (!is_known) {
    return fail(2, fmt::format("there is no command '{}'; there are:{}", argv[1], names).c_str());
  }
  try {
    parser.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parser.exit(error) == 0 ? 0 : 2;
  }
  try {
    std::signal(SIGPIPE, SIG_IGN);
    for (const Command& command : commands) {
      if (!command.app->parsed()) continue;
      std::optional<Signals> signals;
      if (command.heeds_stop) signals.emplace();
      return command.action(signals ? signals->token() : std::stop_token());
    }
  } catch (const mapl::UserError& error) {
    return fail(2, error.what());
  } catch (const mapl::RunError& error) {
    const mapl::Code code = error.status().code();
    const bool again =
        code == mapl::Code::kRefused || code == mapl::Code::kEnded || code == mapl::Code::kCorrupt;
    return fail(again ? 3 : 1, error.what());
  } catch (const std::bad_alloc&) {
    return fail(1, "out of memory; choose a smaller model or micro-batch");
  } catch (const std::exception& error) {
    return fail(1, mapl::train::words_of(error).c_str());
  }
  return 0;
}
