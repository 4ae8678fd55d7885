#include "link/chunks.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace mapl::link {
namespace {

constexpr uint8_t kWantsAnswer = 1;
constexpr uint8_t kGoodbye = 2;

}  // namespace

Bytes encode_control(const Control& control) {
  Bytes bytes;
  bytes.reserve(kControlBytes);
  append(bytes, MessageType::kControl);
  append(bytes, static_cast<uint8_t>((control.wants_answer ? kWantsAnswer : 0) |
                                     (control.goodbye ? kGoodbye : 0)));
  append(bytes, kWireVersion);
  append(bytes, uint32_t{0});
  append(bytes, control.received_bytes);
  append(bytes, control.limit_bytes);
  append(bytes, control.sent_bytes);
  return bytes;
}

Result<Control> decode_control(ByteSpan message) {
  const bool whole =
      message.size() == kControlBytes && read_at<MessageType>(message, 0) == MessageType::kControl;
  if (!whole) {
    return Status(Code::kCorrupt,
                  fmt::format("a control message has {} bytes and type 2, received {} bytes",
                              kControlBytes, message.size()));
  }
  const auto version = read_at<uint16_t>(message, 2);
  if (version != kWireVersion) {
    return Status(Code::kRefused,
                  fmt::format("the peer speaks wire version {}, this end version {}: install the "
                              "same mapl on both",
                              version, kWireVersion));
  }
  if (read_at<uint32_t>(message, 4) != 0) {
    return Status(Code::kCorrupt, "the reserved bytes of a control message are not zero");
  }
  const auto flags = read_at<uint8_t>(message, 1);
  return Control{.wants_answer = (flags & kWantsAnswer) != 0,
                 .goodbye = (flags & kGoodbye) != 0,
                 .received_bytes = read_at<uint64_t>(message, 8),
                 .limit_bytes = read_at<uint64_t>(message, 16),
                 .sent_bytes = read_at<uint64_t>(message, 24)};
}

void Outgoing::copy(uint64_t offset, std::span<std::byte> out) const {
  MAPL_CHECK(offset + out.size() <= size(), "{} bytes at {} of a frame of {}", out.size(), offset,
             size());
  if (offset < header.size()) {
    const size_t count = std::min<size_t>(out.size(), header.size() - offset);
    std::copy_n(header.data() + offset, count, out.data());  // out may be empty, its data null
    out = out.subspan(count);
    offset += count;
  }
  if (!out.empty()) std::memcpy(out.data(), payload.data() + (offset - header.size()), out.size());
}

Result<std::optional<Frame>> Assembler::add(ByteSpan piece) {
  if (header_bytes_.empty()) {
    const size_t size = std::min<size_t>(piece.size(), kHeaderBytes);
    Result<Header> header = decode_header(piece.first(size), max_payload_bytes_);
    if (!header.is_ok()) return header.status();
    header_bytes_.assign(piece.begin(), piece.begin() + kHeaderBytes);
    frame_.header = header.value();
    frame_.payload.reserve(frame_.header.payload_bytes);
    piece = piece.subspan(kHeaderBytes);
  } else if (piece.empty()) {
    return Status(Code::kCorrupt, "an empty piece of a frame");
  }
  const uint64_t missing = frame_.header.payload_bytes - frame_.payload.size();
  if (piece.size() > missing) {
    return Status(Code::kCorrupt,
                  fmt::format("{} more bytes than the {} frame announced", piece.size() - missing,
                              kind_name(frame_.header.kind)));
  }
  frame_.payload.insert(frame_.payload.end(), piece.begin(), piece.end());
  if (piece.size() < missing) return std::optional<Frame>();
  if (Status status = check_payload(header_bytes_, frame_.payload); !status.is_ok()) return status;
  header_bytes_.clear();
  return std::optional<Frame>(std::exchange(frame_, Frame{}));
}

}  // namespace mapl::link
