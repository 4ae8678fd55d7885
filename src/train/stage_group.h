// All stages of a run as threads of one process: mapl train with inproc links, mapl verify,
// benchmarks.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"
#include "train/assembly.h"
#include "train/links.h"
#include "train/trainer.h"

namespace mapl::train {

class StageGroup {
 public:
  // Links by recipe.link.kind: inproc, zmq over ipc, or c10d over loopback, inside this process.
  //   ERRORS  UserError about data or weights.
  explicit StageGroup(const Recipe& recipe);

  // body(stage) on a thread for each stage.
  //   returns  of the failures the one that is not another stage's words, ok when there is none
  //   ERRORS   what a body throws
  using Body = std::function<Status(int stage, Assembly& assembly, Trainer& trainer)>;
  Status run(const Body& body);

  int num_stages() const { return static_cast<int>(assemblies_.size()); }
  Assembly& assembly(int stage) { return *assemblies_[static_cast<size_t>(stage)]; }
  Trainer& trainer(int stage) { return *trainers_[static_cast<size_t>(stage)]; }

 private:
  void open_zmq_links();
  void open_c10d_links();

  Recipe recipe_;
  std::unique_ptr<LocalEndpoints> endpoints_;
  std::unique_ptr<link::ZmqContext> context_;
  std::vector<std::unique_ptr<Assembly>> assemblies_;
  std::vector<StageLinks> links_;
  std::vector<std::unique_ptr<Trainer>> trainers_;
};

}  // namespace mapl::train
