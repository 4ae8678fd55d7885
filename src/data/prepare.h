// From text files to a folder with a tokenizer and token shards: what `mapl data` does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/documents.h"
#include "data/progress.h"

namespace mapl::data {

struct PrepareOptions {
  std::vector<std::string> text;  // paths; read twice when a tokenizer is trained
  Documents::Options documents;
  std::optional<int64_t> vocab_size;  // pieces of the tokenizer to train; or else ...
  std::string model;                  // ... the SentencePiece .model to take
  std::string out;                    // folder; gets train_*.bin, val_*.bin and tokenizer.model
  double validation_fraction = 0.018;
  uint64_t seed = 0;                   // of the split into training and validation
  int64_t shard_tokens = 100'000'000;  // at most, per file
  // Text, about, that a tokenizer is trained on. Of the 40 MB of GCIDE, a sample of 10 MB instead
  // of all costs 0.08 % more tokens.
  int64_t sample_bytes = 16'000'000;
};

struct Prepared {
  int64_t num_documents = 0;
  int64_t train_tokens = 0;
  int64_t train_shards = 0;
  int64_t validation_tokens = 0;
  int64_t validation_shards = 0;
  int64_t vocab_size = 0;
  int64_t num_replaced = 0;  // malformed UTF-8 sequences that became U+FFFD
  int64_t num_unknown = 0;   // tokens <unk>: characters that a given model has no piece for
};

// Every document goes to training or to validation by a hash of (seed, its text), so that equal
// documents never stand on both sides. Each starts with BOS. A tokenizer is trained on the training
// documents alone, sampled by a hash where they are more than sample_bytes. The folder appears
// complete or not at all.
//   ERRORS  UserError and RunError of all that it uses; UserError for options out of range and when
//           training, or validation with a fraction above 0, gets no document.
Prepared prepare(const PrepareOptions& options, Progress& progress);

}  // namespace mapl::data
