// How mapl says that something went wrong (docs/errors.md).
//
//   our bug      MAPL_CHECK: stops the process
//   the user     UserError: what was wrong, what was received, what to do; exit code 2
//   the world    Status / Result<T>: a peer that is gone, late or corrupt; a value, never thrown
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace mapl {

enum class Code {
  kOk,
  kTimeout,   // nothing arrived before the deadline
  kPeerLost,  // the connection broke or the peer is silent
  kRefused,   // the peer is not the one expected: key, version, recipe or stage
  kCorrupt,   // bytes that are not what was declared
  kAborted,   // the peer said that its step failed; the message is the peer's
  kEnded,     // the peer said that the run is over for it; the message is the peer's
  kClosed,    // this end was closed
  kIo,        // a file or socket call failed
};

const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status ok() { return {}; }
  bool is_ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure, with where it happened in front: "step 3: ...". An ok status stays ok.
  Status in(const std::string& where) const;
  std::string to_string() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A value, or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::move(value)) {}
  Result(Status status) : held_(std::move(status)) {}

  bool is_ok() const { return held_.index() == 0; }
  // REQUIRES: is_ok().
  T& value() { return std::get<0>(held_); }
  const T& value() const { return std::get<0>(held_); }
  Status status() const { return is_ok() ? Status::ok() : std::get<1>(held_); }

 private:
  std::variant<T, Status> held_;
};

// A mistake of the user: the message says what was wrong, what was received and what to do.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A failure of the world that ends the run, on its way to main: exit code 3 when the same would
// happen again, else 1.
class RunError : public std::runtime_error {
 public:
  explicit RunError(Status status)
      : std::runtime_error(status.to_string()), status_(std::move(status)) {}
  const Status& status() const { return status_; }

 private:
  Status status_;
};

}  // namespace mapl
