// The first frame each way: who is there, and does it run the same thing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "link/link.h"

namespace mapl::link {

constexpr int64_t kHelloBytes = 48;  // docs/wire_format.md

struct Hello {
  uint16_t wire_version = kWireVersion;
  std::string mapl_version;  // at most 24 bytes: "0.1.0"
  uint64_t recipe_hash = 0;  // of the effective recipe
  uint32_t stage = 0;
  uint32_t num_stages = 0;
};

// REQUIRES: the version text fits.
Bytes encode_hello(const Hello& hello);
// kCorrupt when the length is not kHelloBytes or reserved bytes are not zero.
Result<Hello> decode_hello(ByteSpan payload);

// Sends `mine`, waits for the peer's and compares it with `expected`. Both ends call it, before any
// other frame.
//   look    asked ten times a second while it waits: what it returns, unless OK, ends the wait
//   ERRORS  kRefused: another version, recipe or stage; says what each side has and what to do.
//           The peer has received `mine` by then, so that it can say the same.
Status greet(Link& link, const Hello& mine, const Hello& expected, Deadline deadline,
             const std::function<Status()>& look = {});

}  // namespace mapl::link
