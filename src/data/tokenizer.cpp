#include "data/tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/status.h"
#include "data/shards.h"

namespace mapl::data {
namespace {

using sentencepiece::SentencePieceProcessor;

// SentencePiece skips longer sentences, and stops the process at words of 65,536 characters.
constexpr size_t kMaxSentenceBytes = 4096;

// Hands texts to SentencePiece as sentences, cut at spaces where they are too long.
class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::function<bool(std::string&)>& next_text) : next_text_(next_text) {
    Next();
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }

  void Next() override {
    while (used_ == text_.size()) {
      used_ = 0;
      text_.clear();
      if (!next_text_(text_)) {
        done_ = true;
        return;
      }
    }
    const size_t length = cut(std::string_view(text_).substr(used_));
    sentence_.assign(text_, used_, length);
    used_ += length;
  }

 private:
  static size_t cut(std::string_view text) {
    if (text.size() <= kMaxSentenceBytes) return text.size();
    const size_t space = text.rfind(' ', kMaxSentenceBytes);
    if (space != std::string_view::npos && space > 0) return space;
    size_t end = kMaxSentenceBytes;
    while ((static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
    return end;
  }

  const std::function<bool(std::string&)>& next_text_;
  std::string text_;
  size_t used_ = 0;  // of text_
  std::string sentence_;
  bool done_ = false;
};

// SentencePiece's message without its source file, line and condition.
std::string_view reason(std::string_view message) {
  const size_t bracket = message.find("] ");
  return bracket == std::string_view::npos ? message : message.substr(bracket + 2);
}

[[noreturn]] void refuse_size(const std::string& name, const std::string& size) {
  throw UserError(
      fmt::format("tokenizer {}: {} bytes, and no .model file of more than {} is read; give one as "
                  "`mapl data` or spm_train writes it",
                  name, size, kMaxModelBytes));
}

// Why a call of SentencePiece failed, or nothing. Its double array and the standard library throw.
template <typename Call>
std::optional<std::string> failure_of(const Call& call) {
  try {
    const sentencepiece::util::Status status = call();
    if (status.ok()) return std::nullopt;
    return std::string(reason(status.message()));
  } catch (const std::exception& error) {
    return error.what();
  }
}

// Ends this process by SIGPROF when it has worked for kMaxLoadSeconds and this still stands.
class LoadLimit {
 public:
  LoadLimit() { set(kMaxLoadSeconds); }
  ~LoadLimit() { set(0); }
  LoadLimit(const LoadLimit&) = delete;
  LoadLimit& operator=(const LoadLimit&) = delete;

 private:
  static void set(int seconds) {
    const itimerval once{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}};
    ::setitimer(ITIMER_PROF, &once, nullptr);
  }
};

[[noreturn]] void refuse_model(const char* action, const std::string& failure) {
  throw UserError(
      fmt::format("the tokenizer cannot {}: SentencePiece says \"{}\"; its .model file is damaged: "
                  "give another",
                  action, failure));
}

}  // namespace

std::string Tokenizer::train(const std::function<bool(std::string&)>& next_text,
                             TrainOptions options) {
  if (options.vocab_size < 1 || options.vocab_size > kMaxVocabSize) {
    throw UserError(
        fmt::format("vocabulary size {}: token shards hold ids as uint16; give a size "
                    "from 1 to {}",
                    options.vocab_size, kMaxVocabSize));
  }
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"byte_fallback", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", options.whitespace_runs ? "true" : "false"},
      {"max_sentence_length", std::to_string(kMaxSentenceBytes)},
      {"minloglevel", "3"},  // only what stops the process
  };
  Sentences sentences(next_text);
  if (sentences.done()) throw UserError("no text to train a tokenizer on; give a text file");
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &sentences, &model);
  if (!status.ok()) {
    throw UserError(fmt::format(
        "no vocabulary of {} pieces can be made of this text: SentencePiece says \"{}\"; choose "
        "another --vocab-size or give more text",
        options.vocab_size, reason(status.message())));
  }
  return model;
}

Tokenizer Tokenizer::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw UserError(fmt::format("tokenizer {}: {}; give a SentencePiece .model file", path,
                                std::strerror(errno)));
  }
  std::error_code no_size;  // of a pipe or a device: those are read up to the limit
  const uintmax_t size = std::filesystem::file_size(path, no_size);
  if (!no_size && size > kMaxModelBytes) refuse_size(path, std::to_string(size));
  std::string model(kMaxModelBytes + 1, '\0');
  file.read(model.data(), static_cast<std::streamsize>(model.size()));
  model.resize(static_cast<size_t>(file.gcount()));
  return parse(model, path);
}

Tokenizer Tokenizer::parse(const std::string& model, const std::string& name) {
  if (model.size() > kMaxModelBytes) {
    refuse_size(name, fmt::format("more than {}", kMaxModelBytes));
  }
  auto processor = std::make_unique<SentencePieceProcessor>();
  const auto failure = failure_of([&] {
    const LoadLimit limit;
    return processor->LoadFromSerializedProto(model);
  });
  if (failure || processor->GetPieceSize() == 0) {
    throw UserError(
        fmt::format("tokenizer {}: not a SentencePiece model ({} bytes); give a .model "
                    "file as `mapl data` or spm_train writes it",
                    name, model.size()));
  }
  if (processor->GetPieceSize() > kMaxVocabSize) {
    throw UserError(
        fmt::format("tokenizer {}: {} pieces, and token shards hold ids as uint16; "
                    "give one of at most {}",
                    name, processor->GetPieceSize(), kMaxVocabSize));
  }
  if (processor->bos_id() < 0) {
    throw UserError(
        fmt::format("tokenizer {}: no BOS piece (<s>), and documents are separated by "
                    "it; give a model trained with bos_id >= 0",
                    name));
  }
  return Tokenizer(std::move(processor));
}

Tokenizer::Tokenizer(std::unique_ptr<SentencePieceProcessor> processor)
    : processor_(std::move(processor)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

int64_t Tokenizer::vocab_size() const { return processor_->GetPieceSize(); }
int Tokenizer::bos() const { return processor_->bos_id(); }
int Tokenizer::unknown() const { return processor_->unk_id(); }
std::string Tokenizer::model() const { return processor_->serialized_model_proto(); }

void Tokenizer::encode(std::string_view text, std::vector<int>& ids) const {
  const auto failure = failure_of([&] { return processor_->Encode(text, &ids); });
  if (failure) refuse_model("encode", *failure);
}

std::string Tokenizer::decode(std::span<const int> ids) const {
  for (const int id : ids) {
    if (id < 0 || id >= vocab_size()) {
      throw UserError(
          fmt::format("token id {} is not in the vocabulary of {} pieces; decode with "
                      "the tokenizer that made the ids",
                      id, vocab_size()));
    }
  }
  std::string text;
  const std::vector<int> copy(ids.begin(), ids.end());
  const auto failure = failure_of([&] { return processor_->Decode(copy, &text); });
  if (failure) refuse_model("decode", *failure);
  return text;
}

}  // namespace mapl::data
