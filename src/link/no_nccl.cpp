// Instead of nccl.cpp where LibTorch was built without NCCL.
#include "base/status.h"
#include "link/c10d.h"
#include "link/nccl.h"

namespace mapl::link {

bool has_nccl() { return false; }

std::unique_ptr<Wire> make_nccl_wire(std::unique_ptr<Wire>, const c10::intrusive_ptr<c10d::Store>&,
                                     bool, const std::string&) {
  throw UserError("this mapl was built with a LibTorch without NCCL: use link.backend = \"gloo\"");
}

}  // namespace mapl::link
