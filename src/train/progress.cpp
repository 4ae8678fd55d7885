#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace mapl::train {
namespace {

constexpr int kBarWidth = 20;
constexpr double kTerminalSeconds = 0.1;
constexpr double kPlainSeconds = 10;

std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

}  // namespace

Progress::Progress(bool on) : on_(on), terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (open_) std::fputs("\n", stderr);
}

void Progress::show(const State& state) {
  const bool last = state.step == state.steps;
  const double pause = terminal_ ? kTerminalSeconds : kPlainSeconds;
  if (!on_ || (!last && state.seconds - shown_ < pause)) return;
  shown_ = state.seconds;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line(state).c_str());
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line(state).c_str());
  }
  std::fflush(stderr);
}

std::string Progress::line(const State& state) {
  const double done = static_cast<double>(state.step) / static_cast<double>(state.steps);
  const int filled = std::clamp(static_cast<int>(done * kBarWidth), 0, kBarWidth);
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) bar += i < filled ? "━" : "╌";
  const auto left = static_cast<int64_t>(state.step > 0 ? state.seconds * (1 - done) / done : 0);
  return fmt::format(
      "{:3.0f}% {} step {}/{}  loss {:.4f}  {} tokens/s  {:.1f} B/token  {}:{:02} left", 100 * done,
      bar, state.step, state.steps, state.loss,
      grouped(static_cast<int64_t>(state.tokens_per_second)), state.bytes_per_token, left / 60,
      left % 60);
}

}  // namespace mapl::train
