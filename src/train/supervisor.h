// Runs the stages of a local run as child processes and sees them to their end.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

namespace mapl::train {

struct ChildProcess {
  std::vector<std::string> arguments;                            // the first is the program
  std::vector<std::pair<std::string, std::string>> environment;  // on top of this process's
  std::string name;                                              // for messages: "stage 2"
};

// Starts all, waits for all. Children end with this process, however it ends. When one fails, the
// others have `grace_seconds` to end by themselves and are killed then. When `stop` is requested
// each child gets SIGINT, once.
//   returns  0 when all went well; 2 when a child ended so (the user's mistake, whose echo the
//            others are); else the exit code of the first that failed, 128 + n for signal n
//   ERRORS   UserError when a program cannot be started
int supervise(const std::vector<ChildProcess>& children, std::stop_token stop,
              double grace_seconds = 6);

}  // namespace mapl::train
