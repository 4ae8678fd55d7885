#include "link/hello.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace mapl::link {
namespace {

constexpr size_t kVersionTextBytes = 24;
constexpr double kLookSeconds = 0.1;
using VersionText = std::array<char, kVersionTextBytes>;

// OK, or what differs, what each side has and what to do.
Status compare(const Hello& theirs, const Hello& expected) {
  if (theirs.wire_version != expected.wire_version ||
      theirs.mapl_version != expected.mapl_version) {
    return {Code::kRefused,
            fmt::format("the peer runs mapl {} (wire version {}), this stage mapl {} (wire version "
                        "{}): install the same version on both machines",
                        theirs.mapl_version, theirs.wire_version, expected.mapl_version,
                        expected.wire_version)};
  }
  if (theirs.stage != expected.stage || theirs.num_stages != expected.num_stages) {
    return {Code::kRefused,
            fmt::format("stage {} of {} was expected here, stage {} of {} answers: check the "
                        "endpoints and the stage numbers",
                        expected.stage, expected.num_stages, theirs.stage, theirs.num_stages)};
  }
  if (theirs.recipe_hash != expected.recipe_hash) {
    return {Code::kRefused,
            fmt::format("the peer's recipe has hash {:016x}, this stage's {:016x}: start every "
                        "stage with the same recipe and the same --set",
                        theirs.recipe_hash, expected.recipe_hash)};
  }
  return Status::ok();
}

}  // namespace

Bytes encode_hello(const Hello& hello) {
  MAPL_CHECK(hello.mapl_version.size() <= kVersionTextBytes, "version text '{}' is too long",
             hello.mapl_version);
  VersionText text{};
  std::copy(hello.mapl_version.begin(), hello.mapl_version.end(), text.begin());
  Bytes bytes;
  bytes.reserve(kHelloBytes);
  append(bytes, hello.wire_version);
  append(bytes, uint16_t{0});
  append(bytes, hello.stage);
  append(bytes, hello.num_stages);
  append(bytes, uint32_t{0});
  append(bytes, hello.recipe_hash);
  append(bytes, text);
  return bytes;
}

Result<Hello> decode_hello(ByteSpan payload) {
  if (payload.size() != kHelloBytes) {
    return Status(Code::kCorrupt,
                  fmt::format("a hello has {} bytes, received {}", kHelloBytes, payload.size()));
  }
  if (read_at<uint16_t>(payload, 2) != 0 || read_at<uint32_t>(payload, 12) != 0) {
    return Status(Code::kCorrupt, "the reserved bytes of a hello are not zero");
  }
  Hello hello;
  hello.wire_version = read_at<uint16_t>(payload, 0);
  hello.stage = read_at<uint32_t>(payload, 4);
  hello.num_stages = read_at<uint32_t>(payload, 8);
  hello.recipe_hash = read_at<uint64_t>(payload, 16);
  for (char c : read_at<VersionText>(payload, 24)) {
    if (c == 0) break;
    hello.mapl_version += (c >= 0x20 && c < 0x7f) ? c : '?';
  }
  return hello;
}

Status greet(Link& link, const Hello& mine, const Hello& expected, Deadline deadline,
             const std::function<Status()>& look) {
  Frame frame{.header = {.kind = Kind::kHello}, .payload = encode_hello(mine)};
  if (Status sent = link.send(std::move(frame), deadline); !sent.is_ok()) return sent;
  const Expected hello{.kind = Kind::kHello, .payload_bytes = kHelloBytes};
  Result<Frame> received = Status(Code::kTimeout, "");
  while (true) {
    received = recv_expected(link, hello, std::min(deadline, in_seconds(kLookSeconds)));
    if (received.status().code() != Code::kTimeout || Clock::now() >= deadline) break;
    if (Status seen = look ? look() : Status::ok(); !seen.is_ok()) return seen;
  }
  if (!received.is_ok()) return received.status();
  Result<Hello> theirs = decode_hello(received.value().payload);
  if (!theirs.is_ok()) return theirs.status();
  Status verdict = compare(theirs.value(), expected);
  if (!verdict.is_ok()) {
    // WHY: the caller is about to leave; the peer must have our hello to say what differs.
    if (Status flushed = link.flush(deadline); !flushed.is_ok()) return verdict;
  }
  return verdict;
}

}  // namespace mapl::link
