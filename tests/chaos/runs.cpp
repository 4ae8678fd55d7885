#include "chaos/runs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "base/clock.h"

namespace mapl::chaos {

Process::Process(const std::vector<std::string>& arguments, const std::string& output_path) {
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int out = open(output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  std::vector<char*> words;
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execv(words[0], words.data());
  _exit(127);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), code_(other.code_) {}

Process::~Process() {
  if (!is_running()) return;
  signal(SIGKILL);
  (void)wait(60);
}

bool Process::is_running() {
  if (pid_ < 0 || code_ >= 0) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == 0) return true;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

int Process::wait(double seconds) {
  const Deadline deadline = in_seconds(seconds);
  while (is_running()) {
    if (Clock::now() >= deadline) return -1;
    poll(nullptr, 0, 5);
  }
  return code_;
}

void Process::signal(int number) const {
  if (pid_ > 0) kill(pid_, number);
}

pid_t stage_process(pid_t supervisor, int stage) {
  const std::string pid = std::to_string(supervisor);
  std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
  for (pid_t child; children >> child;) {
    std::ifstream file("/proc/" + std::to_string(child) + "/cmdline");
    const std::string words{std::istreambuf_iterator<char>(file), {}};
    const std::string wanted = std::string("--stage") + '\0' + std::to_string(stage) + '\0';
    if (words.find(wanted) != std::string::npos) return child;
  }
  return -1;
}

int64_t last_step(const std::string& folder) {
  int64_t last = 0;
  for (const auto& line : train::json_lines(folder + "/metrics.jsonl")) {
    last = line.value("step", last);
  }
  return last;
}

std::string mapl_path() { return MAPL_BINARY; }

}  // namespace mapl::chaos
