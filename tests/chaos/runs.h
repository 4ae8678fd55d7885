// Runs of the real program, in the background, on small data.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "train/small_run_for_test.h"

namespace mapl::chaos {

// A child process; killed with this object if it still runs.
class Process {
 public:
  Process(const std::vector<std::string>& arguments, const std::string& output_path);
  ~Process();
  Process(Process&& other) noexcept;
  Process(const Process&) = delete;

  bool is_running();
  // Its exit code, 128 + n for signal n. -1: it does not end within so long.
  int wait(double seconds);
  void signal(int number) const;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int code_ = -1;
};

// The processes of the stages that `mapl train` started, by stage.
pid_t stage_process(pid_t supervisor, int stage);

// Number of the last step in a Run folder's metrics; 0 when there is none.
int64_t last_step(const std::string& folder);

std::string mapl_path();

}  // namespace mapl::chaos
