// One message on a link: a header of fixed size, then the payload. docs/wire_format.md has it byte
// by byte.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::link {

// On the wire: never reuse a number.
enum class Kind : uint8_t {
  kHello = 1,  // who I am, both ways, once
  kActivation = 2,
  kGradient = 3,
  kVote = 4,           // towards stage 0, after the last gradient of a step
  kCommit = 5,         // from stage 0: the step counts
  kBasisGradient = 6,  // receiver -> sender of a boundary
  kBasis = 7,          // sender -> receiver
  kTiedGradient = 8,   // head's and embedding's halves of a tied matrix
  kAbort = 9,          // my step failed; the payload says why (UTF-8 text)
  kOffer = 10,         // towards stage 0: the steps that I can go on from
  kResume = 11,        // from stage 0: the step that all go on from
  kResync = 12,        // sender -> receiver, after a resume: the kBasis of the last step again
  kProbe = 13,         // of a measurement (probe.h), both ways
  kKept = 14,          // keeper -> owner of a mirrored state: the steps that it has of it
  kFetch = 15,         // owner -> keeper: send me my state, or not
  kState = 16,         // both ways: a stage's state, its size first, then pieces
};
const char* kind_name(Kind kind);

constexpr uint16_t kWireVersion = 2;
constexpr int64_t kHeaderBytes = 48;
constexpr int64_t kMaxAbortBytes = 4096;  // text of an abort frame
constexpr uint8_t kFinalAbort = 1;        // in `packing` of an abort: its sender will not come back

struct Header {
  Kind kind = Kind::kHello;
  uint8_t packing = 0;    // codec::PackingId of the payload, 0 where there is none
  uint16_t boundary = 0;  // index of the boundary, 0 between stages 0 and 1
  uint64_t step = 0;
  uint32_t micro_batch = 0;
  uint64_t payload_bytes = 0;
  int64_t sent_ns = 0;  // sender's monotonic clock; 0 when not said
};

struct Frame {
  Header header;
  Bytes payload = {};
};

// Header as it goes over the wire, with magic, version and a checksum (XXH3) over header and
// payload. payload_bytes is the size of frame.payload, whatever the header says.
Bytes encode_header(const Frame& frame);

// Reads and checks a header alone: magic, version, known kind, payload_bytes <= max_payload_bytes.
// Nothing is allocated. kRefused on another version, kCorrupt otherwise.
Result<Header> decode_header(ByteSpan header_bytes, uint64_t max_payload_bytes);

// After the payload has arrived: length and checksum.
Status check_payload(ByteSpan header_bytes, ByteSpan payload);

}  // namespace mapl::link
