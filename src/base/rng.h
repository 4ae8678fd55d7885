// Random numbers without hidden state: a value is a function of a key and a counter, so that the
// same step gives the same numbers, at any number of stages and after any restart.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace mapl {

// A seed for one purpose: the same for the same (seed, name), unrelated otherwise.
uint64_t derive_seed(uint64_t seed, std::string_view name);

// Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words for each (key, counter).
std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_high, uint64_t counter_low);

// A permutation of 0..count-1 that needs no memory: a Feistel network over the next even power of
// two, walked until the value falls inside.
//   REQUIRES: index < count.
uint64_t permute(uint64_t index, uint64_t count, uint64_t key);

}  // namespace mapl
