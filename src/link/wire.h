// What a c10d link needs of the engine below it: messages of a length that both ends know, to and
// from one peer.
//
// THREADS: one thread per channel and direction; abort() from any thread.
#pragma once

#include <span>

#include "base/bytes.h"
#include "base/status.h"

namespace mapl::link {

// Messages of one channel keep their order; no channel waits for another.
enum class Channel { kControl, kHeader, kPayload };
constexpr int kNumChannels = 3;

class Wire {
 public:
  virtual ~Wire() = default;

  // Blocks until the engine has handed all bytes on.
  virtual Status send(Channel channel, ByteSpan bytes) = 0;

  // Blocks until all bytes are here. Nothing for `patience_seconds` breaks the connection, for all
  // channels.
  virtual Status recv(Channel channel, std::span<std::byte> bytes, double patience_seconds) = 0;

  // Lets blocked calls, and those to come, return. Idempotent.
  virtual void abort() noexcept = 0;

  // ERRORS of send and recv  kPeerLost, with the engine's words; kClosed after abort(). After
  //                          either the wire is of no more use.
};

}  // namespace mapl::link
