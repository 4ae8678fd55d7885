// What strangers try, kind by kind.
#include <algorithm>

#include "chaos/stranger.h"
#include "link/curve_keys.h"

namespace mapl::chaos {
namespace {

constexpr size_t kWelcomeBytes = 170;  // the frame by which a stage answers HELLO
constexpr double kShort = 1;           // seconds that one stays who has nothing more to say
constexpr uint64_t kHuge = uint64_t{1} << 60;
constexpr uint8_t kCommand = 0x04;

// The steps of a handshake in the order in which a real one takes them: each when it is due.
Script in_turn(const std::string& greeting, const std::string& first, const std::string& second,
               const std::string& rest = "") {
  return {.parts = {{greeting, 0},
                    {first, kGreetingBytes},
                    {second, kGreetingBytes + kWelcomeBytes},
                    {rest, kGreetingBytes + kWelcomeBytes}}};
}

std::string flipped(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
  return bytes;
}

std::string random_bytes(size_t size, std::mt19937& random) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

Script cut_by_length(const Recording& recording, const std::string& handshake) {
  const size_t a = recording.greeting.size();
  const size_t b = a + recording.hello.size();
  const auto part = [&](size_t from, size_t to) {
    return from < handshake.size() ? handshake.substr(from, to - from) : std::string();
  };
  return in_turn(part(0, a), part(a, b), part(b, std::string::npos));
}

// A greeting of ZMTP 3 with another version and mechanism.
std::string greeting_of(const Recording& recording, int major, int minor,
                        const std::string& mechanism) {
  std::string greeting = recording.greeting;
  greeting[10] = static_cast<char>(major);
  greeting[11] = static_cast<char>(minor);
  std::string name = mechanism;
  name.resize(20);
  greeting.replace(12, 20, name);
  return greeting;
}

Script without_key(const Recording& recording, int index) {
  const std::string ready("\x05READY\x0bSocket-Type\x00\x00\x00\x04PAIR", 26);
  const std::string plain("\x05HELLO\x05stage\x05stage", 18);
  const std::string message = frame_header(0, 24) + std::string("\x02", 1) + std::string(23, '\0');
  const bool is_null = index % 2 == 0;
  const std::string& body = is_null ? ready : plain;
  return in_turn(greeting_of(recording, 3, index % 4 / 2, is_null ? "NULL" : "PLAIN"),
                 frame_header(kCommand, body.size()) + body, message);
}

// The older protocols have no keys at all: who is let in by them needs none.
Script other_version(const Recording& recording, int index) {
  const std::string message = frame_header(0, 24) + std::string("\x02", 1) + std::string(23, '\0');
  const std::string signature = recording.greeting.substr(0, 10);
  switch (index % 6) {
    case 0:  // ZMTP 1.0: an identity, then messages
      return in_turn(std::string("\x01\x00", 2), std::string("\x19\x00", 2) + message, message);
    case 1:  // ZMTP 1.0 by signature, 2.0 in the way RFC 15 says
      return in_turn(signature + std::string("\x00\x00\x00", 3), message, message);
    case 2:
      return in_turn(signature + std::string("\x01\x00\x00\x00", 4), message, message);
    default:
      return in_turn(greeting_of(recording, index % 256, index / 256, "CURVE"), recording.hello,
                     recording.initiate, recording.after);
  }
}

Script reordered(const Recording& recording, std::mt19937& random) {
  std::vector<std::string> parts = {recording.hello, recording.initiate};
  for (const ZmtpFrame& frame : frames_of(recording.greeting + recording.after)) {
    if (parts.size() == 6) break;
    parts.push_back(
        (recording.greeting + recording.after).substr(frame.begin, frame.end - frame.begin));
  }
  const auto original = parts;
  while (parts == original) std::shuffle(parts.begin(), parts.end(), random);
  Script script{.parts = {{recording.greeting, 0}}};
  size_t answered = kGreetingBytes;
  for (const std::string& part : parts) {
    script.parts.push_back({part, answered});
    if (part == recording.hello) answered += kWelcomeBytes;
  }
  return script;
}

Script oversized(const Recording& recording, int index, std::mt19937& random) {
  const uint8_t flags = index % 2 == 0 ? kCommand : 0;
  const std::string huge = frame_header(flags, kHuge) + random_bytes(1 << 12, random);
  switch (index / 2 % 3) {
    case 0:
      return {.parts = {{huge, 0}}};
    case 1:
      return in_turn(recording.greeting, huge, "");
    default:
      return in_turn(recording.greeting, recording.hello, huge);
  }
}

}  // namespace

std::vector<Kind> kinds_of(const Target& target, Telephone& telephone) {
  const Recording& r = target.recording;
  const int port = target.port;
  const auto raw = [port](Script script) { return raw_stranger(port, std::move(script)); };
  const auto own = link::generate_identity();
  const auto other = link::generate_identity();
  const size_t bits = 8 * r.handshake().size();
  std::vector<Kind> kinds;
  kinds.push_back(
      {"wrong key of the stage", 40, [=, &telephone](int, std::mt19937&) {
         return telephone.call(port, {own.public_key, own.secret_key, other.public_key});
       }});
  kinds.push_back(
      {"key that the recipe does not name", 40, [=, &telephone](int, std::mt19937&) {
         const auto fresh = link::generate_identity();
         return telephone.call(port, {fresh.public_key, fresh.secret_key, target.server_key});
       }});
  kinds.push_back(
      {"no key (NULL, PLAIN)", 60, [=](int i, std::mt19937&) { return raw(without_key(r, i)); }});
  kinds.push_back({"other version of ZMTP", 60,
                   [=](int i, std::mt19937&) { return raw(other_version(r, i)); }});
  kinds.push_back({"replayed", 60, [=](int i, std::mt19937&) {
                     return raw(i % 2 == 0 ? in_turn(r.greeting, r.hello, r.initiate, r.after)
                                           : Script{.parts = {{r.stream, 0}}});
                   }});
  kinds.push_back(
      {"reordered", 60, [=](int, std::mt19937& random) { return raw(reordered(r, random)); }});
  kinds.push_back({"truncated", 60, [=](int i, std::mt19937& random) {
                     Script script =
                         cut_by_length(r, r.handshake().substr(0, random() % r.handshake().size()));
                     if (i % 4 != 0) script.leave_seconds = kShort;
                     return raw(script);
                   }});
  // Every bit of every byte comes first; then bits at random.
  kinds.push_back({"one bit flipped", 460, [=](int i, std::mt19937& random) {
                     const size_t at =
                         static_cast<size_t>(i) < bits
                             ? static_cast<size_t>(i) * 8 % bits + static_cast<size_t>(i) * 8 / bits
                             : random() % bits;
                     return raw(cut_by_length(r, flipped(r.handshake(), at)));
                   }});
  kinds.push_back({"2^60 bytes announced", 60,
                   [=](int i, std::mt19937& random) { return raw(oversized(r, i, random)); }});
  kinds.push_back({"slow-loris", 20, [=](int, std::mt19937&) {
                     return raw({.parts = {{r.handshake(), 0}}, .byte_seconds = 0.1});
                   }});
  return kinds;
}

}  // namespace mapl::chaos
