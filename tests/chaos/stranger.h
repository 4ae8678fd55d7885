// One uninvited connection to a stage: what it sends, how, and what came of it.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "chaos/recording.h"

namespace mapl::chaos {

enum class Outcome {
  kUnderWay,
  kTurnedAway,  // the stage hung up
  kLeft,        // the stranger did, as it had meant to
  kStillOpen,   // the stage should have hung up long ago
  kNobody,      // nobody listened
  kAdmitted,
};
constexpr int kNumOutcomes = 6;

class Stranger {
 public:
  virtual ~Stranger() = default;
  // Does what can be done without waiting.
  virtual Outcome turn() = 0;
  // What must call turn(): this is readable (-1: nothing can be waited for),
  virtual int fd() const { return -1; }
  // or this time.
  virtual Deadline due() const = 0;
};

// Bytes in parts. The next part is sent when the stage has answered so many bytes in all, or has
// been silent for half a second.
struct Part {
  std::string bytes;
  size_t after_bytes = 0;
};
struct Script {
  std::vector<Part> parts;
  double byte_seconds = 0;   // a byte at a time, so far apart; 0: a part at once
  double leave_seconds = 8;  // hangs up by itself then: a stage should have done so long before
};

// Throws when there are no sockets left.
std::unique_ptr<Stranger> raw_stranger(int port, Script script);

// One that speaks through libzmq, with CURVE keys of its own.
struct Caller {
  std::string public_key;
  std::string secret_key;
  std::string server_key;
};
class Telephone {
 public:
  Telephone();
  ~Telephone();
  std::unique_ptr<Stranger> call(int port, const Caller& caller);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// A kind of attempt: `make` is told the number of the attempt, from 0.
struct Kind {
  std::string name;
  int share = 1;  // of all attempts, in relation to the others'
  std::function<std::unique_ptr<Stranger>(int index, std::mt19937& random)> make;
};

struct Target {
  int port = 0;
  std::string server_key;  // the public key of the stage that listens
  Recording recording;
};
// `telephone` outlives the kinds.
std::vector<Kind> kinds_of(const Target& target, Telephone& telephone);

}  // namespace mapl::chaos
