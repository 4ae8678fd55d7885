// How far a long reading of text has come, on stderr or wherever it is asked to.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "base/clock.h"

namespace mapl::data {

// On a terminal one line that is rewritten five times a second; elsewhere a line every ten seconds.
class Progress {
 public:
  // A stream that is a terminal is treated as one.
  explicit Progress(std::FILE* out);
  Progress(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  // Ends a line that is still being rewritten, so that an error message gets one of its own.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void begin(std::string label, int64_t total_bytes, Clock::time_point now = Clock::now());
  void update(int64_t bytes, int64_t tokens, Clock::time_point now = Clock::now());
  // The last line of this label; it stays.
  void end(int64_t bytes, int64_t tokens, Clock::time_point now = Clock::now());
  // One line of its own.
  void say(const std::string& line);

 private:
  std::string line(int64_t bytes, int64_t tokens, Clock::time_point now) const;

  std::FILE* out_;
  bool terminal_;
  bool rewriting_ = false;
  std::string label_;
  int64_t total_bytes_ = 0;
  Clock::time_point begun_;
  Clock::time_point written_;
};

}  // namespace mapl::data
