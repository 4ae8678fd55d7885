#include "link/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace mapl::link {
namespace {

constexpr std::array<char, 4> kMagic = {'M', 'A', 'P', 'L'};

// Offsets of docs/wire_format.md.
constexpr size_t kVersionAt = 4;
constexpr size_t kKindAt = 6;
constexpr size_t kPackingAt = 7;
constexpr size_t kStepAt = 8;
constexpr size_t kPayloadBytesAt = 16;
constexpr size_t kSentAt = 24;
constexpr size_t kMicroBatchAt = 32;
constexpr size_t kBoundaryAt = 36;
constexpr size_t kReservedAt = 38;
constexpr size_t kChecksumAt = 40;

// REQUIRES: the header is whole.
uint64_t checksum(ByteSpan header, ByteSpan payload) {
  return hash_bytes(payload, hash_bytes(header.first(kChecksumAt)));
}

Status corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }

}  // namespace

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kHello:
      return "hello";
    case Kind::kActivation:
      return "activation";
    case Kind::kGradient:
      return "gradient";
    case Kind::kVote:
      return "vote";
    case Kind::kCommit:
      return "commit";
    case Kind::kBasisGradient:
      return "basis gradient";
    case Kind::kBasis:
      return "basis";
    case Kind::kTiedGradient:
      return "tied gradient";
    case Kind::kAbort:
      return "abort";
    case Kind::kOffer:
      return "offer";
    case Kind::kResume:
      return "resume";
    case Kind::kProbe:
      return "probe";
    case Kind::kResync:
      return "resync";
    case Kind::kKept:
      return "kept";
    case Kind::kFetch:
      return "fetch";
    case Kind::kState:
      return "state";
  }
  return "unknown";
}

Bytes encode_header(const Frame& frame) {
  const Header& header = frame.header;
  Bytes bytes;
  bytes.reserve(kHeaderBytes);
  append(bytes, kMagic);
  append(bytes, kWireVersion);
  append(bytes, header.kind);
  append(bytes, header.packing);
  append(bytes, header.step);
  append(bytes, static_cast<uint64_t>(frame.payload.size()));
  append(bytes, header.sent_ns);
  append(bytes, header.micro_batch);
  append(bytes, header.boundary);
  append(bytes, uint16_t{0});
  append(bytes, checksum(bytes, frame.payload));
  MAPL_CHECK(bytes.size() == kHeaderBytes, "a header is {} bytes, not {}", kHeaderBytes,
             bytes.size());
  return bytes;
}

Result<Header> decode_header(ByteSpan bytes, uint64_t max_payload_bytes) {
  if (bytes.size() != kHeaderBytes) {
    return corrupt(fmt::format("a header has {} bytes, received {}", kHeaderBytes, bytes.size()));
  }
  if (read_at<std::array<char, 4>>(bytes, 0) != kMagic) {
    return corrupt("not a mapl frame: the first four bytes are not \"MAPL\"");
  }
  const auto version = read_at<uint16_t>(bytes, kVersionAt);
  if (version != kWireVersion) {
    return Status(Code::kRefused,
                  fmt::format("the peer speaks wire version {}, this end version {}: install the "
                              "same mapl on both",
                              version, kWireVersion));
  }
  Header header;
  header.kind = read_at<Kind>(bytes, kKindAt);
  header.packing = read_at<uint8_t>(bytes, kPackingAt);
  header.step = read_at<uint64_t>(bytes, kStepAt);
  header.payload_bytes = read_at<uint64_t>(bytes, kPayloadBytesAt);
  header.sent_ns = read_at<int64_t>(bytes, kSentAt);
  header.micro_batch = read_at<uint32_t>(bytes, kMicroBatchAt);
  header.boundary = read_at<uint16_t>(bytes, kBoundaryAt);
  if (header.kind < Kind::kHello || header.kind > Kind::kState) {
    return corrupt(fmt::format("unknown kind of frame {}", static_cast<int>(header.kind)));
  }
  if (read_at<uint16_t>(bytes, kReservedAt) != 0) {
    return corrupt("the reserved bytes of a header are not zero");
  }
  if (header.payload_bytes > max_payload_bytes) {
    return corrupt(fmt::format("{} frame announces {} payload bytes, at most {} are declared",
                               kind_name(header.kind), header.payload_bytes, max_payload_bytes));
  }
  return header;
}

Status check_payload(ByteSpan header_bytes, ByteSpan payload) {
  MAPL_CHECK(header_bytes.size() == kHeaderBytes, "call decode_header first");
  const auto announced = read_at<uint64_t>(header_bytes, kPayloadBytesAt);
  if (payload.size() != announced) {
    return corrupt(
        fmt::format("{} payload bytes announced, {} received", announced, payload.size()));
  }
  const auto expected = read_at<uint64_t>(header_bytes, kChecksumAt);
  const uint64_t actual = checksum(header_bytes, payload);
  if (actual != expected) {
    return corrupt(fmt::format("checksum {:016x} announced, {:016x} computed over {} payload bytes",
                               expected, actual, payload.size()));
  }
  return Status::ok();
}

}  // namespace mapl::link
