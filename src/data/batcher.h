// Cuts token shards into training samples. Where training stands in the data is one number.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/shards.h"

namespace mapl::data {

// A window is sequence_length + 1 consecutive tokens of one shard; windows start every
// sequence_length tokens, so each token is predicted once an epoch. What is left at the end of a
// shard, less than a window, is not used.
//
// Sample i of a shuffled batcher lies in epoch i / num_windows(); its window is drawn from a
// permutation keyed by (seed, epoch). A spread batcher (validation) has no seed: sample i is window
// floor(k * num_windows / n) with k = i mod n, n = min(spread, num_windows).
class Batcher {
 public:
  struct Options {
    int64_t sequence_length = 256;  // tokens
    int64_t vocab_size = 4096;      // larger ids are refused when they are read
    uint64_t seed = 0;              // of the shuffling
    int64_t spread = 0;             // 0: shuffle all windows; n: n windows evenly apart, in order
  };

  // ERRORS  UserError for a bad shard, or when no shard holds a whole window.
  Batcher(const std::vector<std::string>& paths, Options options);

  // Writes the next `count` samples as rows of [count, sequence_length + 1].
  //   REQUIRES: ids_BT.size() == count * (sequence_length + 1).
  //   ERRORS  UserError naming file and position of an id >= vocab_size; position() stays.
  void next(int64_t count, std::span<int64_t> ids_BT);

  // Samples taken so far, over all epochs; what a checkpoint stores.
  uint64_t position() const { return position_; }
  void seek(uint64_t position) { position_ = position; }

  int64_t num_windows() const { return first_windows_.back(); }
  // After this many samples every window in use was seen once.
  int64_t samples_per_epoch() const;

 private:
  int64_t window_of(uint64_t sample) const;
  void read_window(int64_t window, std::span<int64_t> ids_T) const;

  Options options_;
  std::vector<Shard> shards_;
  std::vector<int64_t> first_windows_;  // of shard s; one more entry holds the number of windows
  uint64_t position_ = 0;
};

}  // namespace mapl::data
