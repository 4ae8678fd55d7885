#include "chaos/recording.h"

#include <algorithm>

namespace mapl::chaos {
namespace {

constexpr uint8_t kLong = 0x02;
constexpr uint8_t kCommand = 0x04;
constexpr size_t kLongestName = 16;

uint64_t read_size(const std::string& stream, size_t at, size_t width) {
  uint64_t size = 0;
  for (size_t i = 0; i < width; ++i) size = size << 8 | static_cast<uint8_t>(stream[at + i]);
  return size;
}

}  // namespace

std::vector<ZmtpFrame> frames_of(const std::string& stream) {
  std::vector<ZmtpFrame> frames;
  for (size_t at = kGreetingBytes; at + 2 <= stream.size();) {
    const auto flags = static_cast<uint8_t>(stream[at]);
    const size_t width = (flags & kLong) != 0 ? 8 : 1;
    if (at + 1 + width > stream.size()) break;
    const uint64_t size = read_size(stream, at + 1, width);
    const size_t body = at + 1 + width;
    if (size > stream.size() - body) break;
    ZmtpFrame frame{.begin = at,
                    .end = body + static_cast<size_t>(size),
                    .is_command = (flags & kCommand) != 0,
                    .name = {}};
    if (size > 0) {
      const auto length = static_cast<uint8_t>(stream[body]);
      if (length <= kLongestName && length < size) frame.name = stream.substr(body + 1, length);
    }
    at = frame.end;
    frames.push_back(std::move(frame));
  }
  return frames;
}

bool is_admission(const std::string& answer) {
  const auto frames = frames_of(answer);
  return std::any_of(frames.begin(), frames.end(), [](const ZmtpFrame& frame) {
    return !frame.is_command || (frame.name != "WELCOME" && frame.name != "ERROR");
  });
}

std::string frame_header(uint8_t flags, uint64_t size) {
  const bool is_long = size > 255;
  std::string header(1, static_cast<char>(flags | (is_long ? kLong : 0)));
  for (int shift = is_long ? 56 : 0; shift >= 0; shift -= 8) {
    header += static_cast<char>(size >> shift & 0xff);
  }
  return header;
}

Recording cut_apart(const std::string& stream) {
  const auto frames = frames_of(stream);
  if (frames.size() < 2 || frames[0].name != "HELLO" || frames[1].name != "INITIATE") return {};
  const auto part = [&](size_t begin, size_t end) { return stream.substr(begin, end - begin); };
  return {.stream = stream,
          .greeting = part(0, kGreetingBytes),
          .hello = part(frames[0].begin, frames[0].end),
          .initiate = part(frames[1].begin, frames[1].end),
          .after = part(frames[1].end, frames.back().end)};
}

}  // namespace mapl::chaos
