// One log per process: warnings to the terminal, everything to the file of this stage.
#pragma once

#include <spdlog/spdlog.h>

#include <optional>
#include <string>

namespace mapl {

// Warnings and errors of any thread go to stderr as "mapl: warning: ...". Call once, from main.
void log_to_terminal();

// From here on everything from level info goes to `path` too, each line flushed: JSON objects with
// _timestamp (Unix seconds), level, what, and stage where it is given.
//   ERRORS  UserError when the file cannot be opened.
void log_to_file(const std::string& path, std::optional<int> stage = {});

}  // namespace mapl
