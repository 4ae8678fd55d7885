// Token shards as llm.c writes them: 256 int32 of header (magic, version, count), then uint16
// tokens. Byte layout: docs/token_shards.md.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace mapl::data {

inline constexpr int32_t kShardMagic = 20240520;
inline constexpr int32_t kShardVersion = 1;
inline constexpr int64_t kShardHeaderBytes = 256 * 4;
inline constexpr int64_t kMaxVocabSize = 65536;                     // a token is a uint16
inline constexpr int64_t kMaxShardTokens = (int64_t{1} << 31) - 1;  // the count is an int32

// The shards that a recipe means by "data/train_*.bin" (or by one plain path), sorted by name.
//   ERRORS  UserError when nothing matches.
std::vector<std::string> find_shards(const std::string& pattern);

// One shard, mapped read-only. Its pages come and go with the kernel's file cache.
class Shard {
 public:
  // ERRORS  UserError when the file is missing, empty, truncated, too long, or not such a shard.
  explicit Shard(const std::string& path);
  Shard(Shard&& other) noexcept;
  Shard& operator=(Shard&& other) noexcept;
  ~Shard();

  const std::string& path() const { return path_; }
  std::span<const uint16_t> tokens() const { return tokens_; }

  // Reads the whole shard.
  //   ERRORS  UserError naming file, position and id when an id is >= vocab_size.
  void check_vocabulary(int64_t vocab_size) const;

 private:
  std::string path_;
  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
  std::span<const uint16_t> tokens_;
};

// The error of an id that the vocabulary does not have; position counts the shard's tokens from 0.
[[noreturn]] void refuse_token(const std::string& path, int64_t position, int64_t id,
                               int64_t vocab_size);

// Writes a stream of tokens to <prefix>_0000.bin, <prefix>_0001.bin, ... A shard is written under a
// temporary name and renamed when it is complete; what is not complete is removed by the
// destructor.
class ShardWriter {
 public:
  // REQUIRES: 0 < shard_tokens <= kMaxShardTokens.
  ShardWriter(std::string prefix, int64_t shard_tokens);
  ~ShardWriter();
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  // REQUIRES: every id in [0, kMaxVocabSize).
  //   ERRORS  RunError naming the file when it cannot be written (a full disk).
  void append(std::span<const int> ids);
  // Completes the last shard. Without tokens there is no shard at all.
  void finish();

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_shards() const { return num_shards_; }

 private:
  void open();
  void close();
  void flush();
  [[noreturn]] void fail(const char* action);

  std::string prefix_;
  int64_t shard_tokens_;
  int64_t num_tokens_ = 0;
  int64_t num_shards_ = 0;  // complete ones
  std::string path_;        // of the open shard
  std::FILE* file_ = nullptr;
  int64_t open_tokens_ = 0;  // in the open shard, buffered ones included
  std::vector<uint16_t> buffer_;
};

}  // namespace mapl::data
