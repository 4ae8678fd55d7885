// What two honest stages say to each other over tcp, as bytes: ZMTP frames (RFC 37), read only as
// far as is needed to cut them apart. Nothing here holds a key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mapl::chaos {

constexpr size_t kGreetingBytes = 64;

struct ZmtpFrame {
  size_t begin = 0;  // of its flags
  size_t end = 0;    // behind its body
  bool is_command = false;
  std::string name;  // of a command, or of the CURVE envelope of a message; may be anything
};

// The whole frames of a stream, from its greeting on.
std::vector<ZmtpFrame> frames_of(const std::string& stream);

// Whether a stage that was asked to let somebody in has done so, by the bytes that it answered:
// CURVE's binding end says nothing but WELCOME and ERROR to who is not let in.
bool is_admission(const std::string& answer);

// Flags and size of a frame, whatever its size.
std::string frame_header(uint8_t flags, uint64_t size);

// The connecting end's part of a recorded connection.
struct Recording {
  std::string stream;    // all of it that was kept
  std::string greeting;  // its first 64 bytes
  std::string hello;     // the first frame
  std::string initiate;  // the second
  std::string after;     // the rest, whole frames
  std::string handshake() const { return greeting + hello + initiate; }
};

// Empty handshake() when the stream has no whole handshake.
Recording cut_apart(const std::string& stream);

}  // namespace mapl::chaos
