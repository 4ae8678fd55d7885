#include "data/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/bytes.h"
#include "base/rng.h"
#include "base/status.h"
#include "data/shards.h"
#include "data/staging.h"
#include "data/tokenizer.h"

namespace mapl::data {
namespace {

namespace fs = std::filesystem;

void check(const PrepareOptions& options) {
  const double fraction = options.validation_fraction;
  if (!(fraction >= 0.0 && fraction < 1.0)) {
    throw UserError(
        fmt::format("--validation-fraction {}: give at least 0 and less than 1", fraction));
  }
  if (options.shard_tokens < 1 || options.shard_tokens > kMaxShardTokens) {
    throw UserError(
        fmt::format("--shard-tokens {}: give from 1 to {}", options.shard_tokens, kMaxShardTokens));
  }
}

int64_t total_bytes(const std::vector<std::string>& paths) {
  int64_t total = 0;
  for (const std::string& path : paths) {
    TextFile(path, InvalidUtf8::kReplace);  // refuses what cannot be read
    total += static_cast<int64_t>(fs::file_size(path));
  }
  return total;
}

// A number in [0, 1) that belongs to this text and key.
double draw(std::string_view text, uint64_t key) {
  return static_cast<double>(hash_bytes(text, key) >> 11) * 0x1p-53;
}

struct Split {
  explicit Split(const PrepareOptions& options)
      : key(derive_seed(options.seed, "validation documents")),
        fraction(options.validation_fraction) {}
  bool validates(std::string_view document) const { return draw(document, key) < fraction; }

  uint64_t key;
  double fraction;
};

Tokenizer train_tokenizer(const PrepareOptions& options, int64_t total, Progress& progress) {
  const Split split(options);
  const uint64_t key = derive_seed(options.seed, "tokenizer documents");
  const double share =
      static_cast<double>(options.sample_bytes) / static_cast<double>(std::max<int64_t>(total, 1));
  int64_t sampled = 0;
  Documents documents(options.text, options.documents);
  const auto next_text = [&](std::string& text) {
    while (documents.next(text)) {
      progress.update(documents.bytes_read(), 0);
      if (split.validates(text) || draw(text, key) >= share) continue;
      sampled += static_cast<int64_t>(text.size());
      return true;
    }
    progress.end(documents.bytes_read(), 0);
    progress.say(fmt::format("training a tokenizer of {} pieces on {:.1f} MB of text",
                             *options.vocab_size, static_cast<double>(sampled) / 1e6));
    return false;
  };
  progress.begin("read", total);
  const bool keeps = options.documents.whitespace == Whitespace::kKeep;
  return Tokenizer::parse(
      Tokenizer::train(next_text, {.vocab_size = *options.vocab_size, .whitespace_runs = keeps}),
      "just trained");
}

void encode_all(const PrepareOptions& options, const Tokenizer& tokenizer, int64_t total,
                const fs::path& folder, Progress& progress, Prepared& result) {
  const Split split(options);
  Documents documents(options.text, options.documents);
  ShardWriter train(folder / "train", options.shard_tokens);
  ShardWriter validation(folder / "val", options.shard_tokens);
  progress.begin("encode", total);
  std::string document;
  std::vector<int> ids;
  const int bos = tokenizer.bos();
  while (documents.next(document)) {
    tokenizer.encode(document, ids);
    result.num_unknown += std::count(ids.begin(), ids.end(), tokenizer.unknown());
    ShardWriter& side = split.validates(document) ? validation : train;
    side.append({&bos, 1});
    side.append(ids);
    ++result.num_documents;
    progress.update(documents.bytes_read(), train.num_tokens() + validation.num_tokens());
  }
  train.finish();
  validation.finish();
  progress.end(documents.bytes_read(), train.num_tokens() + validation.num_tokens());
  result.train_tokens = train.num_tokens();
  result.train_shards = train.num_shards();
  result.validation_tokens = validation.num_tokens();
  result.validation_shards = validation.num_shards();
  result.num_replaced = documents.num_replaced();
}

void check_sides(const Prepared& result, double fraction) {
  const bool no_validation = fraction > 0.0 && result.validation_tokens == 0;
  if (result.train_tokens > 0 && !no_validation) return;
  throw UserError(fmt::format(
      "none of {} documents fell to {} (--validation-fraction {}); give more text, another "
      "--separator or another fraction",
      result.num_documents, no_validation ? "validation" : "training", fraction));
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  bool written =
      file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  int reason = errno;
  if (file != nullptr && std::fclose(file) != 0 && written) {
    written = false;
    reason = errno;
  }
  if (written) return;
  throw RunError(
      Status(Code::kIo, fmt::format("{}: cannot write: {}", path.string(), std::strerror(reason))));
}

}  // namespace

Prepared prepare(const PrepareOptions& options, Progress& progress) {
  check(options);
  Staging staging(options.out);
  const int64_t total = total_bytes(options.text);
  const Tokenizer tokenizer = options.vocab_size ? train_tokenizer(options, total, progress)
                                                 : Tokenizer::load(options.model);
  Prepared result;
  result.vocab_size = tokenizer.vocab_size();
  write_file(staging.folder() / "tokenizer.model", tokenizer.model());
  encode_all(options, tokenizer, total, staging.folder(), progress, result);
  check_sides(result, options.validation_fraction);
  staging.commit();
  return result;
}

}  // namespace mapl::data
