// A man in the middle of the connection between two stages: records what passes, and alters it
// when told to. He holds no key: what he sees and changes is ciphertext.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "chaos/recording.h"

namespace mapl::chaos {

// What he can do to the next message that passes in one direction.
enum class Trick {
  kFlip,       // one bit of it, anywhere
  kSwap,       // it comes after the next
  kDrop,       // it does not come; of those that are not control messages
  kRepeat,     // it comes twice
  kReplay,     // an earlier one of the same connection comes before it
  kForeign,    // one of an earlier connection comes before it
  kCutShort,   // its end is missing, what follows comes
  kCutOff,     // its end is missing, and nothing follows
  kHuge,       // in its place one of 2^60 bytes is announced
  kHandshake,  // the connection is ended; of the next one, a bit of the handshake is flipped
};
constexpr int kNumTricks = 10;
const char* name_of(Trick trick);

// THREADS: any.
class Middle {
 public:
  explicit Middle(uint32_t seed) : random_(seed) {}

  // For Proxy::listen_in.
  bool pass(int connection, int from, std::vector<char>& bytes);

  // Towards the end that listens (0) or from it (1). `bit` is for kHandshake: of which bit.
  void play(Trick trick, int from, size_t bit = 0);
  bool is_done();  // the last trick has been played

  // What the connecting end has said, and been answered, in the latest connection with a whole
  // handshake; the start of it.
  Recording recording();
  std::string answer();

 private:
  struct Stream {
    std::string start;  // recorded
    size_t num_bytes = 0;
    std::string waiting;  // not yet a whole frame
    std::string earlier;  // the first message
    std::string held;     // a message that has to wait for the next
    bool is_over = false;
  };
  void pass_frame(int connection, int from, std::string frame, std::string& out);
  void flip_handshake(size_t begin, std::vector<char>& bytes);
  std::string foreign(int connection, int from) const;

  std::mutex mutex_;  // guards those below
  std::mt19937 random_;
  std::map<int, std::array<Stream, 2>> streams_;  // by connection
  bool is_armed_ = false;
  Trick trick_ = Trick::kFlip;
  int from_ = 0;
  size_t bit_ = 0;
  int ended_ = -1;  // kHandshake: the connection that was ended for it
};

}  // namespace mapl::chaos
