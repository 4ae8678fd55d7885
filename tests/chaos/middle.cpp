#include "chaos/middle.h"

#include <utility>

namespace mapl::chaos {
namespace {

constexpr size_t kMostRecorded = 1 << 17;
constexpr size_t kCut = 7;                 // bytes
constexpr size_t kControlFrameBytes = 72;  // mapl's control messages take 67
constexpr uint8_t kLong = 0x02;
constexpr size_t kUsedFlags = 3;

// Bytes of the first whole frame; 0 when there is none.
size_t whole_frame(const std::string& bytes) {
  if (bytes.size() < 2) return 0;
  const size_t width = (static_cast<uint8_t>(bytes[0]) & kLong) != 0 ? 8 : 1;
  if (bytes.size() < 1 + width) return 0;
  uint64_t size = 0;
  for (size_t i = 0; i < width; ++i) size = size << 8 | static_cast<uint8_t>(bytes[1 + i]);
  return size <= bytes.size() - 1 - width ? 1 + width + size : 0;
}

bool is_message(const std::string& frame) { return (static_cast<uint8_t>(frame[0]) & 0x04) == 0; }

}  // namespace

const char* name_of(Trick trick) {
  constexpr std::array<const char*, kNumTricks> kNames = {"one bit of a message flipped",
                                                          "two messages swapped",
                                                          "a message dropped",
                                                          "a message twice",
                                                          "an earlier message replayed",
                                                          "a message of an earlier connection",
                                                          "a message cut short, more follows",
                                                          "a message cut short, then the end",
                                                          "2^60 bytes announced",
                                                          "one bit of a live handshake flipped"};
  return kNames.at(static_cast<size_t>(trick));
}

void Middle::play(Trick trick, int from, size_t bit) {
  const std::lock_guard lock(mutex_);
  is_armed_ = true;
  trick_ = trick;
  from_ = from;
  bit_ = bit;
  ended_ = -1;
}

bool Middle::is_done() {
  const std::lock_guard lock(mutex_);
  return !is_armed_;
}

Recording Middle::recording() {
  const std::lock_guard lock(mutex_);
  for (auto at = streams_.rbegin(); at != streams_.rend(); ++at) {
    Recording recording = cut_apart(at->second[0].start);
    if (!recording.handshake().empty()) return recording;
  }
  return {};
}

std::string Middle::answer() {
  const std::lock_guard lock(mutex_);
  for (auto at = streams_.rbegin(); at != streams_.rend(); ++at) {
    if (!cut_apart(at->second[0].start).handshake().empty()) return at->second[1].start;
  }
  return {};
}

bool Middle::pass(int connection, int from, std::vector<char>& bytes) {
  const std::lock_guard lock(mutex_);
  Stream& stream = streams_[connection][static_cast<size_t>(from)];
  const size_t begin = stream.num_bytes;
  stream.num_bytes += bytes.size();
  if (stream.is_over) {
    bytes.clear();
    return false;
  }
  if (is_armed_ && trick_ == Trick::kHandshake) {
    if (ended_ < 0) {
      ended_ = connection;
      bytes.clear();
      return false;
    }
    if (connection > ended_ && from == from_) flip_handshake(begin, bytes);
  }
  if (stream.start.size() < kMostRecorded) stream.start.append(bytes.begin(), bytes.end());
  std::string out;
  size_t at = 0;
  // WHY at once: each end of a greeting waits for parts of the other's.
  if (begin < kGreetingBytes) at = std::min(bytes.size(), kGreetingBytes - begin);
  out.assign(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(at));
  stream.waiting.append(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.end());
  for (size_t size; !stream.is_over && (size = whole_frame(stream.waiting)) > 0;) {
    std::string frame = stream.waiting.substr(0, size);
    stream.waiting.erase(0, size);
    pass_frame(connection, from, std::move(frame), out);
  }
  bytes.assign(out.begin(), out.end());
  return !stream.is_over;
}

// When the bit lies in these bytes, which begin there in the stream.
void Middle::flip_handshake(size_t begin, std::vector<char>& bytes) {
  const size_t at = bit_ / 8;
  if (at < begin || at >= begin + bytes.size()) return;
  bytes[at - begin] = static_cast<char>(bytes[at - begin] ^ 1 << bit_ % 8);
  is_armed_ = false;
}

// The first message of an earlier connection; empty when there was none.
std::string Middle::foreign(int connection, int from) const {
  for (auto at = streams_.find(connection); at != streams_.begin();) {
    --at;
    const std::string& message = at->second[static_cast<size_t>(from)].earlier;
    if (!message.empty()) return message;
  }
  return {};
}

void Middle::pass_frame(int connection, int from, std::string frame, std::string& out) {
  Stream& stream = streams_[connection][static_cast<size_t>(from)];
  if (!stream.held.empty()) {
    out += frame + std::exchange(stream.held, {});
    return;
  }
  const bool is_due = is_armed_ && from == from_ && trick_ != Trick::kHandshake &&
                      is_message(frame) && !stream.earlier.empty();
  if (is_message(frame) && stream.earlier.empty()) stream.earlier = frame;
  // A lost heartbeat is no loss.
  const bool is_worth_it = trick_ != Trick::kDrop || frame.size() > kControlFrameBytes;
  if (!is_due || !is_worth_it) {
    out += frame;
    return;
  }
  is_armed_ = false;
  switch (trick_) {
    case Trick::kFlip: {
      size_t bit = random_() % (8 * frame.size());
      if (bit >= kUsedFlags && bit < 8) bit += 8;  // ZMTP ignores the other flags
      frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ 1 << bit % 8);
      out += frame;
      break;
    }
    case Trick::kSwap:
      stream.held = frame;
      break;
    case Trick::kDrop:
      break;
    case Trick::kRepeat:
      out += frame + frame;
      break;
    case Trick::kReplay:
      out += stream.earlier + frame;
      break;
    case Trick::kForeign:
      out += foreign(connection, from) + frame;
      break;
    case Trick::kCutOff:
      stream.is_over = true;
      [[fallthrough]];
    case Trick::kCutShort:
      out += frame.substr(0, frame.size() - std::min(kCut, frame.size()));
      break;
    case Trick::kHuge:
      out += frame_header(0, uint64_t{1} << 60) + frame;
      break;
    case Trick::kHandshake:
      break;
  }
}

}  // namespace mapl::chaos
