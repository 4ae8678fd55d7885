// The links of a stage, as the recipe describes them.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "link/c10d.h"
#include "link/curve_keys.h"
#include "link/link.h"
#include "link/zmq.h"
#include "train/assembly.h"
#include "train/recipe.h"

namespace mapl::train {

struct StageLinks {
  std::unique_ptr<link::Link> prev;  // null on the first stage
  std::unique_ptr<link::Link> next;  // null on the last
};

// The most that a neighbour's frames may announce, and how much may wait to leave.
struct LinkLimits {
  uint64_t max_prev_payload_bytes = 0;  // of the link towards stage 0
  uint64_t max_next_payload_bytes = 0;
  uint64_t max_queued_bytes = link::LinkOptions().max_queued_bytes;
};
LinkLimits limits_of(const Recipe& recipe, Assembly& assembly);

// Where a stage meets a neighbour: the later stage of a boundary listens, or, where it has no
// endpoint, the earlier.
struct Meeting {
  std::string endpoint;  // as the recipe has it: what the end that connects needs
  bool listens = false;  // this stage does, not the neighbour
};
Meeting meeting_of(const Recipe& recipe, int stage, int neighbour);

// Both links of one stage over ZeroMQ, at the endpoints of recipe.link.stages: one end of each
// boundary binds, the other connects outward.
struct OpenOptions {
  std::optional<link::CurveIdentity> identity;  // this stage's keys, when the recipe names any
  double seconds = 60;                          // to wait for the neighbours
  std::stop_token stop;
};
// Returns when both neighbours are there.
//   ERRORS  UserError: endpoints or keys that cannot be used; Status: kTimeout for a neighbour that
//           does not come, whoever was turned away meanwhile; kRefused for one that is another;
//           kClosed when asked to stop
Result<StageLinks> open_links(const Recipe& recipe, int stage, const LinkLimits& limits,
                              link::ZmqContext& context, const OpenOptions& options);

// The three parts of it, for who asks about each neighbour by itself. ERRORS as above.
struct StartedLinks {
  std::unique_ptr<link::ZmqLink> prev, next;  // listening or trying to connect
};
StartedLinks start_links(const Recipe& recipe, int stage, const LinkLimits& limits,
                         link::ZmqContext& context,
                         const std::optional<link::CurveIdentity>& identity);
//   other  its failure ends the wait too; may be null
Status wait_connected(link::ZmqLink& link, Deadline deadline, const std::stop_token& stop,
                      link::ZmqLink* other = nullptr);
// With the recipe's bandwidth and latency in front.
StageLinks shaped(const Recipe& recipe, StageLinks links);

// Which stage a launcher has made of this process.
//   ERRORS  UserError: no launcher, or one that has started another number of stages
link::Launch launch_of(const Recipe& recipe, const link::Environment& environment);

// What both links of a launched stage share, and the links, when both neighbours are there.
//   ERRORS  UserError: as link::C10dContext::start; Status: stage 0 or a neighbour did not come
Result<std::unique_ptr<link::C10dContext>> start_c10d(const Recipe& recipe,
                                                      const link::Launch& launch);
Result<StageLinks> open_c10d_links(const Recipe& recipe, int stage, Assembly& assembly,
                                   link::C10dContext& context, double seconds);

// After the last message: waits until what was sent has left.
void say_goodbye(StageLinks& links);

// Links between all stages in this process: threads (inproc).
std::vector<StageLinks> make_inproc_links(const Recipe& recipe,
                                          const std::vector<std::unique_ptr<Assembly>>& assemblies);

// A folder that only this user can enter, gone with this object, and an ipc endpoint in it for each
// stage.
class LocalEndpoints {
 public:
  explicit LocalEndpoints(int64_t num_stages);
  ~LocalEndpoints();
  LocalEndpoints(const LocalEndpoints&) = delete;
  LocalEndpoints& operator=(const LocalEndpoints&) = delete;

  const std::vector<Recipe::Peer>& peers() const { return peers_; }

 private:
  std::string folder_;
  std::vector<Recipe::Peer> peers_;
};

}  // namespace mapl::train
