// The inner loop of vector quantisation on the CPU: which entry of a codebook is nearest.
// Compiled once for every vector unit worth having; the loader picks (cmake/vector_units.cmake).
#pragma once

#include <cstdint>

namespace mapl::math {

constexpr int64_t kRvqLanes = 32;  // vectors looked at together, one in each lane

// For each lane the entry with the least |e - c|^2, the first of those that are equal.
//
//   e_dL          [width, kRvqLanes], aligned to 64 bytes
//   entries_Cd    [entries, width]
//   half_norms_C  |c|^2 / 2 of each entry
//   codes_L       what was found
void nearest_entries(const float* e_dL, const float* entries_Cd, const float* half_norms_C,
                     int64_t entries, int64_t width, int32_t* codes_L);

}  // namespace mapl::math
