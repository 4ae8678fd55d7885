#include "data/batcher.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/rng.h"
#include "base/status.h"

namespace mapl::data {

Batcher::Batcher(const std::vector<std::string>& paths, Options options) : options_(options) {
  MAPL_CHECK(options.sequence_length > 0, "sequence length {}", options.sequence_length);
  MAPL_CHECK(options.spread >= 0, "spread {}", options.spread);
  first_windows_.push_back(0);
  size_t longest = 0;
  for (const std::string& path : paths) {
    const Shard& shard = shards_.emplace_back(path);
    longest = std::max(longest, shard.tokens().size());
    const int64_t last_token = static_cast<int64_t>(shard.tokens().size()) - 1;
    first_windows_.push_back(first_windows_.back() + last_token / options.sequence_length);
  }
  if (num_windows() > 0) return;
  throw UserError(fmt::format(
      "a sample takes {} tokens (sequence_length + 1), and the longest of {} token shard{} ({}) "
      "holds {}; give more text or a smaller sequence_length",
      options.sequence_length + 1, paths.size(), paths.size() == 1 ? "" : "s",
      paths.empty() ? "none" : fmt::format("first: {}", paths.front()), longest));
}

int64_t Batcher::samples_per_epoch() const {
  return options_.spread > 0 ? std::min(options_.spread, num_windows()) : num_windows();
}

void Batcher::next(int64_t count, std::span<int64_t> ids_BT) {
  const auto row = static_cast<size_t>(options_.sequence_length + 1);
  MAPL_CHECK(count >= 0 && ids_BT.size() == row * static_cast<size_t>(count),
             "room for {} ids, asked for {} rows of {}", ids_BT.size(), count, row);
  for (int64_t i = 0; i < count; ++i) {
    read_window(window_of(position_ + i), ids_BT.subspan(i * row, row));
  }
  position_ += count;
}

int64_t Batcher::window_of(uint64_t sample) const {
  const auto per_epoch = static_cast<uint64_t>(samples_per_epoch());
  const uint64_t index = sample % per_epoch;
  if (options_.spread > 0) return static_cast<int64_t>(index * num_windows() / per_epoch);
  const uint64_t key = derive_seed(options_.seed, fmt::format("epoch {}", sample / per_epoch));
  return static_cast<int64_t>(permute(index, per_epoch, key));
}

void Batcher::read_window(int64_t window, std::span<int64_t> ids_T) const {
  const auto after = std::upper_bound(first_windows_.begin(), first_windows_.end(), window);
  const auto s = static_cast<size_t>(after - first_windows_.begin()) - 1;
  const Shard& shard = shards_[s];
  const int64_t start = (window - first_windows_[s]) * options_.sequence_length;
  const auto tokens = shard.tokens().subspan(start, ids_T.size());
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] >= options_.vocab_size) {
      refuse_token(shard.path(), start + static_cast<int64_t>(t), tokens[t], options_.vocab_size);
    }
    ids_T[t] = tokens[t];
  }
}

}  // namespace mapl::data
