#include "data/staging.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <system_error>

#include "base/status.h"

namespace mapl::data {
namespace {

namespace fs = std::filesystem;

sigset_t ending_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals, signal);
  return signals;
}

[[noreturn]] void fail(const fs::path& path, const char* action, const std::error_code& error) {
  throw RunError(Status(Code::kIo, fmt::format("{}: cannot {} the output folder: {}", path.string(),
                                               action, error.message())));
}

// The folder's own path: "a/b" for "a/b/" and "a/./b".
fs::path tidy(const std::string& out) {
  const fs::path path = fs::absolute(out).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

fs::path hidden_beside(const fs::path& out, pid_t process) {
  return out.parent_path() / fmt::format(".{}.part-{}", out.filename().string(), process);
}

}  // namespace

Staging::Staging(const std::string& out) : out_(tidy(out)) {
  std::error_code error;
  if (fs::exists(out_, error) && !(fs::is_directory(out_, error) && fs::is_empty(out_, error))) {
    throw UserError(
        fmt::format("--out {}: exists already and is no empty folder; remove it or "
                    "choose another",
                    out_.string()));
  }
  fs::create_directories(out_.parent_path(), error);
  if (error) fail(out_, "make", error);
  folder_ = hidden_beside(out_, ::getpid());
  const sigset_t signals = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (!fs::create_directory(folder_, error)) {
    ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    fail(folder_, "make", error);
  }
  watcher_ = std::jthread([this](std::stop_token stop) { wait_for_signal(stop); });
}

Staging::~Staging() {
  watcher_.request_stop();
  watcher_.join();
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
  const sigset_t signals = ending_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void Staging::commit() {
  std::error_code error;
  fs::rename(folder_, out_, error);
  if (error) fail(out_, "rename the finished files to", error);
}

void Staging::remove_left_by(pid_t process, const std::string& out) {
  std::error_code ignored;
  fs::remove_all(hidden_beside(tidy(out), process), ignored);
}

void Staging::wait_for_signal(std::stop_token stop) {
  const sigset_t signals = ending_signals();
  const timespec tenth{.tv_sec = 0, .tv_nsec = 100'000'000};
  while (!stop.stop_requested()) {
    const int signal = ::sigtimedwait(&signals, nullptr, &tenth);
    if (signal < 0) continue;
    // The other threads may still add a file between two looks at the folder.
    for (int attempt = 0; attempt < 100 && fs::exists(folder_); ++attempt) {
      std::error_code ignored;
      fs::remove_all(folder_, ignored);
    }
    ::signal(signal, SIG_DFL);
    ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    ::raise(signal);
  }
}

}  // namespace mapl::data
