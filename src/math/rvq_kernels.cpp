#include "math/rvq_kernels.h"

#include <cstring>
#include <limits>

namespace mapl::math {
namespace {

// GCC's vectors: lowered to whatever unit the function is compiled for.
using Floats [[gnu::vector_size(64)]] = float;
using Ints [[gnu::vector_size(64)]] = int32_t;
constexpr int64_t kFloats = 16;
constexpr int64_t kParts = kRvqLanes / kFloats;

// |e - c|^2 / 2 less what does not depend on c is |c|^2 / 2 - e . c. A width that is known lets the
// compiler keep e in registers.
template <int64_t kWidth>
[[gnu::always_inline]] inline void search(const float* e_dL, const float* entries_Cd,
                                          const float* half_norms_C, int64_t entries, int64_t width,
                                          int32_t* codes_L) {
  const int64_t d = kWidth > 0 ? kWidth : width;
  const auto* e = reinterpret_cast<const Floats*>(e_dL);
  Floats least[kParts];
  Ints code[kParts] = {};
  for (Floats& part : least) part = Floats{} + std::numeric_limits<float>::infinity();
  for (int64_t k = 0; k < entries; ++k, entries_Cd += d) {
    Floats distance[kParts];
    for (Floats& part : distance) part = Floats{} + half_norms_C[k];
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t p = 0; p < kParts; ++p) distance[p] -= e[i * kParts + p] * entries_Cd[i];
    }
    const Ints here = Ints{} + static_cast<int32_t>(k);
    for (int64_t p = 0; p < kParts; ++p) {
      const Ints nearer = distance[p] < least[p];
      least[p] = nearer ? distance[p] : least[p];
      code[p] = nearer ? here : code[p];
    }
  }
  std::memcpy(codes_L, code, sizeof(code));
}

}  // namespace

MAPL_CLONES
void nearest_entries(const float* e_dL, const float* entries_Cd, const float* half_norms_C,
                     int64_t entries, int64_t width, int32_t* codes_L) {
  switch (width) {
    case 4:
      return search<4>(e_dL, entries_Cd, half_norms_C, entries, width, codes_L);
    case 8:
      return search<8>(e_dL, entries_Cd, half_norms_C, entries, width, codes_L);
    case 16:
      return search<16>(e_dL, entries_Cd, half_norms_C, entries, width, codes_L);
    default:
      return search<0>(e_dL, entries_Cd, half_norms_C, entries, width, codes_L);
  }
}

}  // namespace mapl::math
