// FuzzedDataProvider with mapl's bytes.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include "base/bytes.h"

namespace mapl {

inline Bytes take_bytes(FuzzedDataProvider& input, size_t count) {
  Bytes bytes(std::min(count, input.remaining_bytes()));
  if (!bytes.empty()) input.ConsumeData(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace mapl
