// Every stage's state in the memory of a neighbour, its keeper, so that a machine can be lost with
// its disk: the next stage keeps it, of the last stage the one before.
//
//   after a step     state  owner to keeper: its size, then pieces
//   after new links  kept   keeper to owner: the steps that it has of it
//                    fetch  owner to keeper, when all have agreed on a step: whether to send it
//                    state  keeper to owner, if so
//
// Owner and keeper hold the two latest: when a failure comes between two stages' copies of a step,
// all stages still have the one before.
//
// THREADS: one thread owns a mirror.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "base/bytes.h"
#include "base/status.h"
#include "pipeline/agreement.h"
#include "pipeline/channel.h"

namespace mapl::pipeline {

// Links must let payloads of this size pass.
constexpr int64_t kStatePieceBytes = 1 << 20;

class Mirror {
 public:
  struct Options {
    int stage = 0;
    int num_stages = 2;  // at least 2
    // The most that the state of the stage before, of this one, and of the one after can have: who
    // announces more is refused.
    int64_t max_prev_bytes = 0;
    int64_t max_own_bytes = 0;
    int64_t max_next_bytes = 0;
  };
  explicit Mirror(const Options& options);

  // Channels to work over, new ones after a failure; null at the ends of the pipeline.
  // REQUIRES: they outlive the mirror or the next call.
  void connect(Channel* prev, Channel* next);

  // After `finished` steps, on all stages: hands this stage's state to its keeper, and takes those
  // that it keeps itself.
  //   ERRORS  those of the channels; kCorrupt: a state larger than it can be
  Status exchange(uint64_t finished, Bytes own);

  // After new links, on all stages: learns what its keeper has.
  Status compare();
  // The steps that this stage can be brought to from memory, its own or its keeper's.
  Steps steps() const;
  // After compare(), on all stages, when they have agreed on a step.
  //   lacks  this stage stands elsewhere and has no copy of its own but maybe here
  Status fetch(uint64_t finished, bool lacks);

  // This stage's state after `finished` steps; null when it is not in memory here.
  const Bytes* own(uint64_t finished) const;

 private:
  struct Copy {
    uint64_t finished = 0;
    Bytes bytes;
  };
  // Of one stage, ascending.
  struct Copies {
    int stage = 0;
    int64_t max_bytes = 0;
    std::deque<Copy> copies;

    const Bytes* find(uint64_t finished) const;
    // What was kept of this step and later ones is of a past that was gone back on.
    void add(uint64_t finished, Bytes bytes);
    void drop_after(uint64_t finished);
  };
  bool is_last() const { return options_.stage + 1 == options_.num_stages; }
  // One transfer over each pair of owner and keeper that this stage is in, in an order in which no
  // two stages wait for each other however much they send.
  Status with_each(const std::function<Status(Channel& keeper)>& as_owner,
                   const std::function<Status(Channel& owner, Copies& kept)>& as_keeper);
  // Into `kept`.
  static Status recv_state(Channel& channel, uint64_t finished, Copies& kept);

  Options options_;
  Channel* prev_ = nullptr;
  Channel* next_ = nullptr;
  Copies own_, of_prev_, of_next_;
  Steps kept_;  // by this stage's keeper
};

}  // namespace mapl::pipeline
