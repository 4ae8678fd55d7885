// Instead of c10d.cpp where LibTorch was built without c10d or Gloo.
#include "base/status.h"
#include "link/c10d.h"

namespace mapl::link {
namespace {

[[noreturn]] void refuse() {
  throw UserError(
      "link.kind = \"c10d\" needs a LibTorch with c10d and Gloo, and this mapl was built with one "
      "that has none: use \"zmq\", or build with another LibTorch");
}

}  // namespace

struct C10dContext::Shared {};

bool has_c10d() { return false; }

C10dContext::C10dContext(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
C10dContext::~C10dContext() = default;
Result<std::unique_ptr<C10dContext>> C10dContext::start(const C10dOptions&, Deadline) { refuse(); }
uint16_t C10dContext::port() const { refuse(); }
Result<std::unique_ptr<Link>> C10dContext::open(int, const LinkOptions&, Deadline) { refuse(); }

}  // namespace mapl::link
