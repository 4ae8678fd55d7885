// Links over c10d, PyTorch's own engine, between the stages that a launcher has started inside a
// trusted cluster: nothing is encrypted and nobody proves who they are. No tensor shows here.
//
// Each link is two process groups of two, one for control messages and headers and one for
// payloads, so that a large payload never holds up a heartbeat and no link's failure is another's.
// They find each other through a TCPStore that stage 0 keeps (or torchrun's agent).
#pragma once

#include <memory>
#include <string>

#include "link/launcher.h"
#include "link/link.h"

namespace mapl::link {

// Whether this build's LibTorch has c10d with Gloo; and with NCCL.
bool has_c10d();
bool has_nccl();

struct C10dOptions {
  Launch launch = {};
  std::string backend = "gloo";  // of payloads; "nccl" takes them through the GPU
  std::string device = "cpu";    // that GPU: "cuda:1"
};

// What the links of a process share: the store and the sockets' device. Links keep it alive.
//
// THREADS: one at a time. Makes the process ignore SIGPIPE: Gloo writes to sockets that may be
// gone.
class C10dContext {
 public:
  // On stage 0 opens the store, else connects to it.
  //   ERRORS  UserError: no c10d or no such backend in this build, the port is in use here.
  //           Status kTimeout: stage 0 is not there in time
  static Result<std::unique_ptr<C10dContext>> start(const C10dOptions& options, Deadline deadline);
  ~C10dContext();

  // The store's port, as the other stages need it.
  uint16_t port() const;

  // Waits for a neighbour, which does the same at its end. A link that was lost can be opened anew,
  // by both ends equally often.
  //   REQUIRES  peer = own stage - 1 or + 1
  //   ERRORS    kTimeout: it did not come; kIo: the store or a socket failed
  Result<std::unique_ptr<Link>> open(int peer, const LinkOptions& options, Deadline deadline);

 private:
  struct Shared;
  explicit C10dContext(std::shared_ptr<Shared> shared);

  std::shared_ptr<Shared> shared_;
};

}  // namespace mapl::link
