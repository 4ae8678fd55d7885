#include "chaos/crowd.h"

#include <poll.h>

#include <algorithm>
#include <numeric>

namespace mapl::chaos {

void Crowd::add(size_t kind, std::unique_ptr<Stranger> stranger) {
  present_.push_back({kind, std::move(stranger)});
}

int Crowd::turn() {
  std::vector<pollfd> polled;
  for (const Present& one : present_) polled.push_back({one.stranger->fd(), POLLIN, 0});
  poll(polled.data(), polled.size(), 0);
  const auto now = Clock::now();
  for (size_t i = 0; i < present_.size(); ++i) {
    Present& one = present_[i];
    if (polled[i].revents == 0 && now < one.stranger->due()) continue;
    const Outcome outcome = one.stranger->turn();
    if (outcome == Outcome::kUnderWay) continue;
    ++counts_[one.kind][static_cast<size_t>(outcome)];
    one.stranger.reset();
  }
  return static_cast<int>(
      std::erase_if(present_, [](const Present& one) { return !one.stranger; }));
}

int Crowd::count(size_t kind, Outcome outcome) const {
  return counts_[kind][static_cast<size_t>(outcome)];
}

int Crowd::count(Outcome outcome) const {
  return std::accumulate(counts_.begin(), counts_.end(), 0, [&](int sum, const auto& counts) {
    return sum + counts[static_cast<size_t>(outcome)];
  });
}

std::vector<size_t> plan_of(const std::vector<Kind>& kinds, int attempts, std::mt19937& random) {
  const int shares = std::accumulate(kinds.begin(), kinds.end(), 0,
                                     [](int sum, const Kind& kind) { return sum + kind.share; });
  std::vector<size_t> plan;
  for (size_t k = 0; k < kinds.size(); ++k) {
    const int times = std::max(1, attempts * kinds[k].share / shares);
    plan.insert(plan.end(), static_cast<size_t>(times), k);
  }
  std::shuffle(plan.begin(), plan.end(), random);
  return plan;
}

}  // namespace mapl::chaos
