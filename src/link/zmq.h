// Links between processes and machines, over ZeroMQ: ipc on one machine, tcp between machines, with
// CURVE keys beyond loopback (required there, welcome anywhere).
//
// With keys each end proves to the other that it holds the secret of the public key that was agreed
// upon: the connecting end pins the binder's, the binder lets in the one key of its peer (ZAP), and
// everything is encrypted. Without keys, whoever can reach the endpoint can come first: for ipc
// that is who may enter the folder of the path.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "link/curve_keys.h"
#include "link/link.h"

namespace mapl::link {

class IoLoop;
class Mailbox;

struct ZmqOptions {
  LinkOptions link = {};
  std::string endpoint =
      {};             // "ipc:///run/mapl/1-2", "tcp://10.0.0.2:5555"; to bind, port * picks one
  bool bind = false;  // one end of a link binds, the other connects
  std::optional<CurveIdentity> own = {};  // with keys, both ends have them
  std::string peer_public_key = {};       // 40 characters of Z85; empty without keys
  double connect_seconds = 30.0;          // how long open() waits for the peer
};

class ZmqLink : public Link {
 public:
  // Made by ZmqContext.
  ZmqLink(std::shared_ptr<IoLoop> loop, std::shared_ptr<Mailbox> mailbox, std::string endpoint,
          std::string gate);
  // Closes. What flush() has not seen arrive may be lost.
  ~ZmqLink() override;

  Status send(Frame&& frame, Deadline deadline) override;
  Result<Frame> recv(Deadline deadline) override;
  Status health() override;
  Status flush(Deadline deadline) override;
  void close() noexcept override;

  // Until the peer is there and both ends have heard each other. Frames sent before that wait.
  //   ERRORS  kTimeout or kRefused, naming endpoint and peer. Who connects with a key that the
  //           binder does not expect is refused at once. Who binds waits on for the right peer, who
  //           expects another key of the binder tries on; both are told at the deadline what came.
  Status wait_connected(Deadline deadline);

  // The endpoint with the port that was picked, as the other end needs it.
  const std::string& bound_endpoint() const { return endpoint_; }

 private:
  const std::shared_ptr<IoLoop> loop_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::string endpoint_;
  const std::string gate_;  // empty where there is none
};

// What the links of a process share: ZeroMQ's context, the I/O thread, the keeper of the gates, and
// a limit of descriptors that is raised as far as the system lets (65536 at most).
// Links keep it alive; the process waits for the last goodbye, a second at most, when it goes.
class ZmqContext {
 public:
  ZmqContext();
  ~ZmqContext();

  // Binds or connects and waits for the peer.
  //   ERRORS  UserError: an endpoint that cannot be used or is in use, tcp beyond loopback without
  //   keys,
  //           malformed keys. Status: as ZmqLink::wait_connected.
  Result<std::unique_ptr<Link>> open(const ZmqOptions& options);

  // The same without waiting.
  std::unique_ptr<ZmqLink> start(const ZmqOptions& options);

 private:
  const std::shared_ptr<IoLoop> loop_;
};

}  // namespace mapl::link
