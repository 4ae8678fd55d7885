// Runs the stages of a local run as child processes and sees them to their end.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

namespace mapl::train {

struct ChildProcess {
  std::vector<std::string> arguments;                            // the first is the program
  std::vector<std::string> first_arguments = {};                 // more of them, at the first start
  std::vector<std::pair<std::string, std::string>> environment;  // on top of this process's
  std::string name;                                              // for messages: "stage 2"
  bool restart =
      false;  // start it again when a signal ends it, unless that happens again and again
};

// Starts all, waits for all. Children end with this process, however it ends. When one fails for
// good, the others have `grace_seconds` to end by themselves and are killed then. When `stop` is
// requested each child gets SIGINT, once.
//   ERRORS  UserError when a program cannot be started
struct Supervised {
  // 0 when all went well; 2 when a child ended so (the user's mistake, whose echo the others are);
  // else the exit code of the first that failed, 128 + n for signal n.
  int exit_code = 0;
  std::vector<std::string> ends;  // of each child: "exit code 1", "signal 9 (Killed)"
};
Supervised supervise(const std::vector<ChildProcess>& children, std::stop_token stop,
                     double grace_seconds = 6);

}  // namespace mapl::train
