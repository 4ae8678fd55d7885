// What libFuzzer learns of the code's paths when g++ compiles it.
//
// g++ calls __sanitizer_cov_trace_pc() at each edge, at which libFuzzer gives up; the linker sends
// the calls here instead (--wrap). libFuzzer counts what stands in the section below as its own
// counters. Of comparisons it hears itself, but for those of floating point, which only g++ tells
// of.
#include <cstdint>

namespace {

constexpr uint32_t kCounters = 1 << 16;
__attribute__((section("__libfuzzer_extra_counters"))) uint8_t counters[kCounters];
thread_local uint32_t from = 0;

}  // namespace

extern "C" __attribute__((no_sanitize_coverage)) void __wrap___sanitizer_cov_trace_pc() {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const uint32_t to = static_cast<uint32_t>(here ^ (here >> 16)) * 0x9E3779B1u >> 16;
  ++counters[(from ^ to) % kCounters];
  from = to >> 1;  // an edge and its reverse differ
}

extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}
