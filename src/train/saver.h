// Writes checkpoints of one stage while training goes on: what is saved is copied at once, and
// written by a thread of its own.
//
// THREADS: one thread owns a saver.
#pragma once

#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "base/status.h"
#include "checkpoint/manifest.h"

namespace mapl::train {

class Saver {
 public:
  struct Options {
    std::string root;  // of the checkpoints
    int64_t stage = 0;
    int64_t num_stages = 1;
    int64_t keep_latest_k = 0;  // 0: all
    checkpoint::Metadata metadata;
  };
  explicit Saver(Options options) : options_(std::move(options)) {}
  // Waits for what is being written.
  ~Saver();

  // Waits for the one before, copies, returns. keep_latest_k older ones stay until it is written.
  //   ERRORS  RunError (kIo): the disk refused the one before
  void save(int64_t step, const checkpoint::NamedTensors& tensors);
  // Returns when what was saved is on disk. ERRORS  the same
  void wait();

  // Reads the newest, and older ones until one is whole: before a run relies on them.
  void pass_over_damaged();
  // Numbers of steps that this stage can be restored to, but for those that turned out damaged.
  std::vector<uint64_t> steps() const;
  // The run goes on from `step`: what this stage has of later ones is of another future.
  void forget_after(int64_t step);
  // Reads one of them, all of it checked.
  //   returns  kIo when it is damaged: it is not among steps() again
  Result<checkpoint::NamedTensors> load(uint64_t step);

 private:
  Options options_;
  std::future<void> writing_;
  std::vector<uint64_t> damaged_;
};

}  // namespace mapl::train
