#include "base/status.h"

namespace mapl {

const char* code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kTimeout:
      return "timeout";
    case Code::kPeerLost:
      return "peer lost";
    case Code::kRefused:
      return "refused";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kAborted:
      return "aborted by peer";
    case Code::kEnded:
      return "ended by peer";
    case Code::kClosed:
      return "closed";
    case Code::kIo:
      return "input/output";
  }
  return "unknown";
}

Status Status::in(const std::string& where) const {
  return is_ok() ? *this : Status(code_, where + ": " + message_);
}

std::string Status::to_string() const {
  return is_ok() ? "ok" : message_ + " [" + code_name(code_) + "]";
}

}  // namespace mapl
