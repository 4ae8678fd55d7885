#include "link/link.h"

#include <fmt/format.h>

#include <algorithm>

namespace mapl::link {
namespace {

std::string describe(Kind kind, uint64_t step, uint32_t micro_batch, uint64_t payload_bytes,
                     uint8_t packing) {
  return fmt::format("{} of step {}, micro-batch {} ({} bytes, packing {})", kind_name(kind), step,
                     micro_batch, payload_bytes, packing);
}

}  // namespace

Status abort_status(const Frame& abort) {
  const size_t size = std::min<size_t>(abort.payload.size(), kMaxAbortBytes);
  std::string text(reinterpret_cast<const char*>(abort.payload.data()), size);
  const auto is_control = [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; };
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return {abort.header.packing == kFinalAbort ? Code::kEnded : Code::kAborted, text};
}

Result<Frame> recv_expected(Link& link, const Expected& expected, Deadline deadline) {
  const std::string wanted = describe(expected.kind, expected.step, expected.micro_batch,
                                      expected.payload_bytes, expected.packing);
  Result<Frame> received = link.recv(deadline);
  if (!received.is_ok()) return received.status().in("waiting for " + wanted);
  const Header& header = received.value().header;
  if (header.kind == Kind::kAbort) {
    return abort_status(received.value());
  }
  const bool same = header.kind == expected.kind && header.step == expected.step &&
                    header.micro_batch == expected.micro_batch &&
                    (header.payload_bytes == expected.payload_bytes ||
                     (expected.or_fewer_bytes && header.payload_bytes < expected.payload_bytes)) &&
                    header.packing == expected.packing;
  if (!same) {
    return Status(Code::kCorrupt, fmt::format("expected {}, received {}", wanted,
                                              describe(header.kind, header.step, header.micro_batch,
                                                       header.payload_bytes, header.packing)));
  }
  return received;
}

}  // namespace mapl::link
