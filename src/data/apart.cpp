#include "data/apart.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

#include "base/status.h"

namespace mapl::data {
namespace {

// How libsentencepiece gives up: exit(-1).
constexpr int kGaveUp = 255;

[[noreturn]] void run_child(pid_t parent, const std::function<int()>& work) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);
  const int exit_code = work();
  std::cout.flush();
  std::fflush(nullptr);
  ::_exit(exit_code);
}

}  // namespace

bool Ended::crashed() const {
  for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGKILL, SIGPROF}) {
    if (signal == fault) return true;
  }
  return exit_code == kGaveUp;
}

Ended run_apart(const std::function<int()>& work) {
  sigset_t awaited;
  sigset_t before;
  ::sigemptyset(&awaited);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) ::sigaddset(&awaited, signal);
  std::signal(SIGCHLD, SIG_DFL);  // WHY: where it is ignored, waitpid() tells nothing
  ::pthread_sigmask(SIG_BLOCK, &awaited, &before);
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    const int reason = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw RunError(
        Status(Code::kIo, std::string("cannot start a process: ") + std::strerror(reason)));
  }
  if (child == 0) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    run_child(parent, work);
  }
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) != child) {
    const int signal = ::sigwaitinfo(&awaited, nullptr);
    if (signal > 0 && signal != SIGCHLD) ::kill(child, signal);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const bool exited = WIFEXITED(status);
  return {.exit_code = exited ? WEXITSTATUS(status) : -1,
          .signal = exited ? 0 : WTERMSIG(status),
          .process = child};
}

void end_likewise(const Ended& ended) {
  if (ended.signal != 0) {
    std::signal(ended.signal, SIG_DFL);
    ::raise(ended.signal);
  }
  ::_exit(ended.signal != 0 ? 128 + ended.signal : ended.exit_code);
}

}  // namespace mapl::data
