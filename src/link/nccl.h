// Payloads through NCCL, headers and control messages through the wire below. Torch's types show
// here: only c10d.cpp includes this.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <string>

#include "link/wire.h"

namespace c10d {
class Store;
}

namespace mapl::link {

// `below` carries the other channels, and tells when the peer is gone.
//   is_first  one end of the two says true, the other false
//   device    "cuda" or "cuda:1"; the two ends of a link cannot share a GPU
std::unique_ptr<Wire> make_nccl_wire(std::unique_ptr<Wire> below,
                                     const c10::intrusive_ptr<c10d::Store>& store, bool is_first,
                                     const std::string& device);

}  // namespace mapl::link
