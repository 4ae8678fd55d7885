// Work in a process of its own: a library that crashes there ends that process and no other.
#pragma once

#include <sys/types.h>

#include <functional>

namespace mapl::data {

struct Ended {
  int exit_code;  // of the work, or -1 when a signal ended its process
  int signal;     // that did, or 0
  pid_t process;  // gone by now
  // By a fault, an abort, the kernel's want of memory, a library's exit(-1) or a limit of time.
  bool crashed() const;
};

// Forks, returns how the child ended, and hands SIGINT, SIGTERM and SIGHUP on to it. The child
// does not outlive the parent: it gets SIGTERM.
//   work  its result is the child's exit code; what it throws ends the child
//
// THREADS  REQUIRES that the process has no other thread yet.
// ERRORS   RunError when no process can be started.
Ended run_apart(const std::function<int()>& work);

// Ends this process as `ended` ended: by the same signal or with the same exit code.
[[noreturn]] void end_likewise(const Ended& ended);

}  // namespace mapl::data
