// What travels inside ZeroMQ messages (docs/wire_format.md): frames cut into pieces, and control
// messages between them. Pure: bytes in, bytes out.
//
// WHY pieces: whoever waits for a frame of 64 MiB on a slow line hears nothing for seconds. With
// pieces, every one of them says that the peer lives, and control messages get through between
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "link/frame.h"

namespace mapl::link {

// First byte of a message. On the wire: never reuse a number.
enum class MessageType : uint8_t { kPiece = 1, kControl = 2 };

constexpr size_t kMaxPieceBytes = 128 << 10;  // of a frame in one message: a second at 1 Mbit/s
constexpr size_t kControlBytes = 32;
constexpr size_t kMaxMessageBytes = 1 + kMaxPieceBytes;

// Sent to open a link, when idle, when the reader has caught up, and to answer a flush.
struct Control {
  bool wants_answer = false;    // the sender waits in flush()
  bool goodbye = false;         // the last message of this end
  uint64_t received_bytes = 0;  // of frames, since the link opened
  uint64_t limit_bytes = 0;     // the peer may send so many in all; never sinks
  uint64_t sent_bytes = 0;      // of frames, before this message
};
Bytes encode_control(const Control& control);
// kCorrupt when `message` is not a control message of the right length.
Result<Control> decode_control(ByteSpan message);

// A frame on its way out: header and payload read as one run of bytes.
struct Outgoing {
  Bytes header;
  Bytes payload;
  Kind kind = Kind::kHello;

  uint64_t size() const { return header.size() + payload.size(); }
  // REQUIRES: offset + out.size() <= size().
  void copy(uint64_t offset, std::span<std::byte> out) const;
};

// Pieces in, frames out. Never holds more than a header, and the payload that the header announces
// once that has been found to be within the limit.
class Assembler {
 public:
  explicit Assembler(uint64_t max_payload_bytes) : max_payload_bytes_(max_payload_bytes) {}

  // The frame that this piece completes, if it does. After an error the assembler is of no more
  // use.
  Result<std::optional<Frame>> add(ByteSpan piece);

 private:
  const uint64_t max_payload_bytes_;
  Bytes header_bytes_;  // empty between frames
  Frame frame_;
};

}  // namespace mapl::link
