// Runs the real executable, as a user would, on a small run of its own.
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include "train/small_run_for_test.h"

namespace mapl::cli {

struct Ran {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};

// `arguments` as a shell takes them; `before` is what that shell does first.
inline Ran run_mapl(const std::string& arguments, const std::string& before = "") {
  const std::string command = before + MAPL_BINARY + " " + arguments + " 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  Ran ran;
  std::array<char, 4096> buffer;
  for (size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    ran.output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ran;
}

}  // namespace mapl::cli
