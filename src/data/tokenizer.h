// Text to token ids and back, by SentencePiece. Never link this into a program that loads LibTorch:
// each library brings its own protobuf symbols, and the two together crash before main().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace mapl::data {

// The largest .model file that is read; 65,536 pieces and a normaliser take some 2 MB.
inline constexpr size_t kMaxModelBytes = size_t{16} << 20;
// Loading may take this much of a processor's time; 65,536 pieces take less than one.
inline constexpr int kMaxLoadSeconds = 10;

class Tokenizer {
 public:
  struct TrainOptions {
    int64_t vocab_size = 4096;  // pieces, 3 special ones and 256 bytes included
    bool whitespace_runs =
        false;  // pieces may be runs of spaces: for text whose white space is kept
  };

  // Trains a byte-pair encoding and returns the bytes of its .model file. <unk> <s> </s> are ids 0
  // 1 2; text is not normalised, and characters without a piece of their own fall back to bytes, so
  // decode(encode(text)) == text but for U+2581, which SentencePiece writes for a space.
  //
  //   next_text  sets the next piece of training text, or returns false; all of it is held in
  //   memory ERRORS     UserError when the text cannot give so large a vocabulary, or needs a
  //   larger one.
  //
  // The same text gives the same model.
  static std::string train(const std::function<bool(std::string&)>& next_text,
                           TrainOptions options);

  // ERRORS  UserError when the file is larger than kMaxModelBytes, is no SentencePiece model, has
  //         no BOS (<s>) or has more pieces than a uint16 can name.
  // WHY apart.h: libsentencepiece trusts such a file's normaliser, user-defined pieces and lengths,
  // and a hostile one can crash it here, in encode() and in decode(), and keep it busy for hours
  // here: SIGPROF ends the process after kMaxLoadSeconds (docs/security.md).
  static Tokenizer load(const std::string& path);
  // The same for the bytes of such a file; `name` stands for it in errors.
  static Tokenizer parse(const std::string& model, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  int64_t vocab_size() const;
  int bos() const;
  int unknown() const;
  // The bytes of the .model file.
  std::string model() const;

  // No BOS is added.
  //   ERRORS  UserError when SentencePiece refuses, as it does with a damaged model.
  void encode(std::string_view text, std::vector<int>& ids) const;
  // Special ids (BOS) give no text.
  //   ERRORS  UserError for an id outside the vocabulary, and as encode().
  std::string decode(std::span<const int> ids) const;

 private:
  explicit Tokenizer(std::unique_ptr<sentencepiece::SentencePieceProcessor> processor);

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace mapl::data
