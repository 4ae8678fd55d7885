// Two stages of a run, each a process, with keys, and a line between them that can be listened in
// on.
#pragma once

#include <string>
#include <vector>

#include "chaos/middle.h"
#include "chaos/proxy.h"
#include "chaos/runs.h"
#include "chaos/stranger.h"

namespace mapl::chaos {

class TwoStages {
 public:
  // `sets`: of the recipe, over those of a small run.
  TwoStages(std::vector<std::string> sets, uint32_t seed);

  // Stage 1, which listens, and stage 0, which reaches it through the proxy.
  std::vector<Process> start(const std::string& run, int steps) const;

  std::string folder(const std::string& run) const { return place_.folder() + "/" + run; }
  std::string output() const;  // of all runs
  // Of stage 1, with the latest recording.
  Target target();
  Caller honest() const;  // with the key of stage 0
  Middle& middle() { return middle_; }

 private:
  std::string key_file(int stage) const;

  const train::SmallRun place_;
  const std::vector<std::string> sets_;
  Middle middle_;
  const int inner_, outer_;  // ports: of stage 1, of the proxy
  Proxy proxy_;
  std::vector<std::string> public_keys_;
};

// What the system says of a process.
struct Watched {
  int64_t peak_kib = 0;    // resident
  int64_t peak_files = 0;  // descriptors open
  double cpu_seconds = 0;  // of all its threads
  void look(pid_t pid);
};

}  // namespace mapl::chaos
