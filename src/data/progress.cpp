#include "data/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <utility>

namespace mapl::data {

Progress::Progress(std::FILE* out) : Progress(out, ::isatty(::fileno(out)) == 1) {}

Progress::~Progress() {
  if (rewriting_) say("");
}

void Progress::begin(std::string label, int64_t total_bytes, Clock::time_point now) {
  label_ = std::move(label);
  total_bytes_ = total_bytes;
  begun_ = now;
  written_ = now;
}

void Progress::update(int64_t bytes, int64_t tokens, Clock::time_point now) {
  using namespace std::chrono_literals;
  if (now - written_ < (terminal_ ? Clock::duration(200ms) : Clock::duration(10s))) return;
  written_ = now;
  fmt::print(out_, "{}{}{}", terminal_ ? "\r" : "", line(bytes, tokens, now),
             terminal_ ? "\x1b[K" : "\n");
  rewriting_ = terminal_;
  std::fflush(out_);
}

void Progress::end(int64_t bytes, int64_t tokens, Clock::time_point now) {
  fmt::print(out_, "{}{}{}\n", terminal_ ? "\r" : "", line(bytes, tokens, now),
             terminal_ ? "\x1b[K" : "");
  rewriting_ = false;
  std::fflush(out_);
}

void Progress::say(const std::string& line) {
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

std::string Progress::line(int64_t bytes, int64_t tokens, Clock::time_point now) const {
  const double seconds = std::chrono::duration<double>(now - begun_).count();
  const double mb = static_cast<double>(bytes) / 1e6;
  std::string text = fmt::format("{:<10} {:8.1f} of {:.1f} MB", label_, mb,
                                 static_cast<double>(total_bytes_) / 1e6);
  if (tokens > 0) text += fmt::format(", {:.2f} M tokens", static_cast<double>(tokens) / 1e6);
  return text + fmt::format(", {:.1f} s, {:.1f} MB/s", seconds, seconds > 0 ? mb / seconds : 0.0);
}

}  // namespace mapl::data
