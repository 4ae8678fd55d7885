#include "base/rng.h"

#include <bit>

#include "base/bytes.h"
#include "base/check.h"

namespace mapl {

uint64_t derive_seed(uint64_t seed, std::string_view name) { return hash_bytes(name, seed); }

std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_high, uint64_t counter_low) {
  std::array<uint32_t, 4> x = {
      static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
      static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  auto k0 = static_cast<uint32_t>(key);
  auto k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return x;
}

uint64_t permute(uint64_t index, uint64_t count, uint64_t key) {
  MAPL_CHECK(index < count, "index {} of {}", index, count);
  const int half_bits = (std::bit_width(count - 1) + 1) / 2;
  if (half_bits == 0) return index;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits;
    uint64_t right = index & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const auto word = philox(key, round, right);
      const uint64_t mixed = left ^ ((uint64_t{word[1]} << 32 | word[0]) & mask);
      left = right;
      right = mixed;
    }
    index = left << half_bits | right;
  } while (index >= count);
  return index;
}

}  // namespace mapl
