// MAPL_CHECK(condition, "what {} should be", x): for our own bugs only. Prints and stops.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#define MAPL_CHECK(condition, ...)                                                          \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", __FILE__, __LINE__, #condition, \
                   fmt::format(__VA_ARGS__).c_str());                                       \
      std::abort();                                                                         \
    }                                                                                       \
  } while (false)
