#include "train/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <deque>
#include <map>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace mapl::train {
namespace {

constexpr int kPollMs = 50;
constexpr int kUsersMistake = 2;
// A child that is ended so often within so long would be again.
constexpr size_t kMostRestarts = 10;
constexpr double kRestartsSeconds = 60;

struct Running {
  pid_t pid = -1;
  int pidfd = -1;
  const ChildProcess* child = nullptr;
  std::deque<Clock::time_point> restarts = {};  // the latest
};

[[noreturn]] void become(const ChildProcess& child, bool is_first, pid_t parent) {
  // A group of its own: Ctrl-C on the terminal reaches the supervisor alone, which passes it on
  // once.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // the parent went before prctl
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const auto& [name, value] : child.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& argument : child.arguments) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  if (is_first) {
    for (const std::string& argument : child.first_arguments) {
      arguments.push_back(const_cast<char*>(argument.c_str()));
    }
  }
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  std::fprintf(stderr, "mapl: error: cannot start %s: %s\n", arguments[0], std::strerror(errno));
  _exit(127);
}

Running start(const ChildProcess& child, bool is_first) {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw UserError(fmt::format("cannot start {}: {}", child.name, strerror(errno)));
  if (pid == 0) become(child, is_first, parent);
  const auto pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) {  // nobody would ever see it end
    const int error = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    throw UserError(
        fmt::format("cannot watch {}: pidfd_open: {}; it takes Linux 5.3, and a file "
                    "descriptor for each process (ulimit -n)",
                    child.name, strerror(error)));
  }
  return {pid, pidfd, &child};
}

int exit_code_of(const Running& child) {
  int status = 0;
  waitpid(child.pid, &status, 0);
  close(child.pidfd);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string how_it_ended(int code) {
  return code > 128 ? fmt::format("signal {} ({})", code - 128, strsignal(code - 128))
                    : fmt::format("exit code {}", code);
}

void signal_all(const std::vector<Running>& running, int signal) {
  for (const Running& child : running) kill(child.pid, signal);
}

// Starts a child again that a signal has ended; false when that has happened too often.
bool restart(Running& ended) {
  const auto now = Clock::now();
  ended.restarts.push_back(now);
  while (ended.restarts.front() + std::chrono::duration<double>(kRestartsSeconds) < now) {
    ended.restarts.pop_front();
  }
  if (ended.restarts.size() > kMostRestarts) return false;
  try {
    Running again = start(*ended.child, /*is_first=*/false);
    again.restarts = std::move(ended.restarts);
    ended = std::move(again);
    return true;
  } catch (const UserError& error) {
    spdlog::error("{}", error.what());
    return false;
  }
}

}  // namespace

Supervised supervise(const std::vector<ChildProcess>& children, std::stop_token stop,
                     double grace_seconds) {
  Supervised result{.ends = std::vector<std::string>(children.size())};
  std::vector<Running> running;
  for (const ChildProcess& child : children) running.push_back(start(child, /*is_first=*/true));
  int first_failure = 0;
  std::optional<Deadline> kill_at;
  bool users_mistake = false;
  bool told = false;
  while (!running.empty()) {
    std::vector<pollfd> ends;
    for (const Running& child : running) ends.push_back({child.pidfd, POLLIN, 0});
    poll(ends.data(), ends.size(), kPollMs);
    for (size_t i = running.size(); i-- > 0;) {
      if ((ends[i].revents & POLLIN) == 0) continue;
      const int code = exit_code_of(running[i]);
      const std::string& name = running[i].child->name;
      spdlog::info("{} ended with {}", name, code);
      const bool wanted = running[i].child->restart && !stop.stop_requested() && first_failure == 0;
      if (code > 128 && wanted && restart(running[i])) {
        spdlog::warn("{} was ended by {}; it was started again", name, how_it_ended(code));
        continue;
      }
      result.ends[static_cast<size_t>(running[i].child - children.data())] = how_it_ended(code);
      if (code == kUsersMistake) users_mistake = true;
      if (code != 0 && first_failure == 0) {
        first_failure = code;
        kill_at = in_seconds(grace_seconds);
        if (code > 128) spdlog::error("{} was ended by {}", name, how_it_ended(code));
      }
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (stop.stop_requested() && !told) {
      told = true;
      signal_all(running, SIGINT);
    }
    if (kill_at && Clock::now() >= *kill_at) signal_all(running, SIGKILL);
  }
  result.exit_code = users_mistake ? kUsersMistake : first_failure;
  return result;
}

}  // namespace mapl::train
