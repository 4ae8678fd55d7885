// All strangers who are at a stage's door, and how it ended for those before them.
#pragma once

#include <array>
#include <memory>
#include <random>
#include <vector>

#include "chaos/stranger.h"

namespace mapl::chaos {

class Crowd {
 public:
  explicit Crowd(size_t num_kinds) : counts_(num_kinds) {}

  void add(size_t kind, std::unique_ptr<Stranger> stranger);
  // Does what can be done without waiting. Returns how many have gone.
  int turn();
  size_t size() const { return present_.size(); }

  int count(size_t kind, Outcome outcome) const;
  int count(Outcome outcome) const;  // of all kinds

 private:
  struct Present {
    size_t kind;
    std::unique_ptr<Stranger> stranger;
  };
  std::vector<Present> present_;
  std::vector<std::array<int, kNumOutcomes>> counts_;  // by kind
};

// The kinds of the attempts to make, in the order of making: mixed, each as often as its share
// says, and at least once.
std::vector<size_t> plan_of(const std::vector<Kind>& kinds, int attempts, std::mt19937& random);

}  // namespace mapl::chaos
