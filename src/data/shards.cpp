#include "data/shards.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/status.h"

namespace mapl::data {
namespace {

constexpr size_t kBufferTokens = size_t{1} << 16;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw UserError(
      fmt::format("token shard {}: {}; make the shards again with `mapl data`", path, what));
}

std::array<int32_t, 256> header(int64_t num_tokens) {
  std::array<int32_t, 256> header{};
  header[0] = kShardMagic;
  header[1] = kShardVersion;
  header[2] = static_cast<int32_t>(num_tokens);
  return header;
}

std::string temporary(const std::string& path) { return path + ".part"; }

// The file's size, once it is known to be one that can be mapped.
int64_t mappable_bytes(int fd, const std::string& path) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) refuse(path, "not a regular file");
  if (info.st_size == 0) refuse(path, "the file is empty (0 bytes)");
  if (info.st_size < kShardHeaderBytes) {
    refuse(path, fmt::format("truncated: {} bytes, the header alone takes {}", info.st_size,
                             kShardHeaderBytes));
  }
  return info.st_size;
}

void check_header(const int32_t* header, int64_t file_bytes, const std::string& path) {
  if (header[0] != kShardMagic) {
    refuse(path,
           fmt::format("not a token shard: magic number {}, expected {}", header[0], kShardMagic));
  }
  if (header[1] != kShardVersion) {
    refuse(path, fmt::format("version {}, expected {} (uint16 tokens)", header[1], kShardVersion));
  }
  const int64_t count = header[2];
  if (count <= 0) refuse(path, fmt::format("the header announces {} tokens", count));
  const int64_t expected = kShardHeaderBytes + 2 * count;
  if (file_bytes != expected) {
    refuse(path, fmt::format("{}: the header announces {} tokens, which take {} bytes, and the "
                             "file has {}",
                             file_bytes < expected ? "truncated" : "too long", count, expected,
                             file_bytes));
  }
}

}  // namespace

std::vector<std::string> find_shards(const std::string& pattern) {
  glob_t found{};
  const int failure = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> paths;
  if (failure == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  if (paths.empty()) {
    throw UserError(fmt::format(
        "no token shard matches \"{}\"; make shards with `mapl data --out DIR` and name them as "
        "\"DIR/train_*.bin\"",
        pattern));
  }
  std::sort(paths.begin(), paths.end());  // glob's own order depends on the locale
  return paths;
}

Shard::Shard(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) refuse(path, fmt::format("cannot be opened: {}", std::strerror(errno)));
  int64_t file_bytes = 0;
  try {
    file_bytes = mappable_bytes(fd, path);
  } catch (...) {
    ::close(fd);
    throw;
  }
  void* mapping = ::mmap(nullptr, file_bytes, PROT_READ, MAP_SHARED, fd, 0);
  const int reason = errno;
  ::close(fd);
  if (mapping == MAP_FAILED) {
    throw RunError(Status(Code::kIo, fmt::format("{}: mmap: {}", path, std::strerror(reason))));
  }
  const auto* words = static_cast<const int32_t*>(mapping);
  try {
    check_header(words, file_bytes, path);
  } catch (...) {
    ::munmap(mapping, file_bytes);
    throw;
  }
  mapping_ = mapping;
  mapped_bytes_ = file_bytes;
  tokens_ = {reinterpret_cast<const uint16_t*>(words + 256), static_cast<size_t>(words[2])};
}

Shard::Shard(Shard&& other) noexcept { *this = std::move(other); }

Shard& Shard::operator=(Shard&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(tokens_, other.tokens_);
  return *this;
}

Shard::~Shard() {
  if (mapping_ != nullptr) ::munmap(mapping_, mapped_bytes_);
}

void Shard::check_vocabulary(int64_t vocab_size) const {
  const auto bad = std::find_if(tokens_.begin(), tokens_.end(),
                                [vocab_size](uint16_t id) { return id >= vocab_size; });
  if (bad != tokens_.end()) refuse_token(path_, bad - tokens_.begin(), *bad, vocab_size);
}

void refuse_token(const std::string& path, int64_t position, int64_t id, int64_t vocab_size) {
  throw UserError(fmt::format(
      "token shard {}: id {} at token {} (byte {}), but model.vocab_size is {}; set vocab_size to "
      "that of the tokenizer which made the shard",
      path, id, position, kShardHeaderBytes + 2 * position, vocab_size));
}

ShardWriter::ShardWriter(std::string prefix, int64_t shard_tokens)
    : prefix_(std::move(prefix)), shard_tokens_(shard_tokens) {
  MAPL_CHECK(shard_tokens > 0 && shard_tokens <= kMaxShardTokens, "{} tokens a shard",
             shard_tokens);
  buffer_.reserve(kBufferTokens);
}

ShardWriter::~ShardWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(temporary(path_).c_str());
}

void ShardWriter::append(std::span<const int> ids) {
  for (const int id : ids) {
    MAPL_CHECK(id >= 0 && id < kMaxVocabSize, "token id {} does not fit uint16", id);
    if (file_ == nullptr) open();
    buffer_.push_back(static_cast<uint16_t>(id));
    ++num_tokens_;
    ++open_tokens_;
    if (buffer_.size() == kBufferTokens) flush();
    if (open_tokens_ == shard_tokens_) close();
  }
}

void ShardWriter::finish() {
  if (file_ != nullptr) close();
}

void ShardWriter::open() {
  path_ = fmt::format("{}_{:04}.bin", prefix_, num_shards_);
  file_ = std::fopen(temporary(path_).c_str(), "wbe");
  if (file_ == nullptr) fail("open");
  const auto blank = header(0);
  if (std::fwrite(blank.data(), kShardHeaderBytes, 1, file_) != 1) fail("write");
}

void ShardWriter::flush() {
  if (std::fwrite(buffer_.data(), 2, buffer_.size(), file_) != buffer_.size()) fail("write");
  buffer_.clear();
}

void ShardWriter::close() {
  flush();
  const auto complete = header(open_tokens_);
  if (std::fseek(file_, 0, SEEK_SET) != 0) fail("write");
  if (std::fwrite(complete.data(), kShardHeaderBytes, 1, file_) != 1) fail("write");
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) fail("write");
  std::fclose(std::exchange(file_, nullptr));
  if (std::rename(temporary(path_).c_str(), path_.c_str()) != 0) fail("rename");
  open_tokens_ = 0;
  ++num_shards_;
}

void ShardWriter::fail(const char* action) {
  const int reason = errno;
  if (file_ != nullptr) std::fclose(std::exchange(file_, nullptr));
  std::remove(temporary(path_).c_str());
  buffer_.clear();
  throw RunError(Status(Code::kIo, fmt::format("{}: cannot {} the token shard: {}", path_, action,
                                               std::strerror(reason))));
}

}  // namespace mapl::data
