// Damaged and hostile .model files, each in a process of its own: docs/security.md says what may
// happen to it.
#include <fmt/format.h>
#include <sentencepiece_trainer.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>

#include "base/status.h"
#include "data/apart.h"
#include "data/scratch.h"
#include "data/tokenizer.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

// A .model file of 280 pieces whose text is normalised by this rule of SentencePiece's.
std::string small_model(const std::string& rule) {
  const Scratch scratch;
  std::string text;
  for (int line = 0; line < 200; ++line) text += fmt::format("the {} of ing{}\n", line, line % 7);
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"input", scratch.write("text", text)},
                                                  {"model_prefix", scratch.path("m")},
                                                  {"model_type", "bpe"},
                                                  {"vocab_size", "280"},
                                                  {"byte_fallback", "true"},
                                                  {"normalization_rule_name", rule},
                                                  {"minloglevel", "3"}});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return scratch.read("m.model");
}

// ASCII, the first characters of several scripts, full-width forms, and bytes that are no UTF-8.
std::string varied_text() {
  std::string text = std::string(500, '@') + "the 7 of ing ﬁ ① Å 日本 🎈 <unk> <0x41>\n\t\xFF\xFE";
  for (int byte = 1; byte < 256; ++byte) text += static_cast<char>(byte);
  for (int lead = 0xC3; lead < 0xDF; ++lead) text += {static_cast<char>(lead), '\xA0'};
  for (int second = 0x80; second < 0xBF; ++second)
    text += {'\xEF', static_cast<char>(second), '\x81'};
  return text;
}

enum PieceType { kControl = 3, kUserDefined = 4 };  // numbers of sentencepiece_model.proto

// A piece, up to 100 bytes long, as it stands in a .model file.
std::string piece_field(const std::string& piece, PieceType type) {
  std::string bytes = {'\x0A', static_cast<char>(piece.size() + 4), '\x0A',
                       static_cast<char>(piece.size())};
  bytes += piece;
  bytes += {'\x18', static_cast<char>(type)};
  return bytes;
}

enum Fate { kUsed = 0, kRefused = 2 };  // exit codes of the child

// Loads the model, encodes and decodes with it.
Ended try_model(const std::string& model) {
  static const std::string text = varied_text();
  return run_apart([&] {
    const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGSEGV, SIG_DFL);  // WHY: a sanitizer's handler would exit
    ::alarm(20);                    // a hang is an end by SIGALRM
    try {
      const Tokenizer tokenizer = Tokenizer::parse(model, "altered");
      std::vector<int> ids;
      tokenizer.encode(text, ids);
      tokenizer.decode(ids);
      return kUsed;
    } catch (const UserError&) {
      return kRefused;
    }
  });
}

class Alterations {
 public:
  explicit Alterations(std::string model) : model_(std::move(model)) {}

  std::string next() {
    std::string altered = model_;
    const size_t at = draw();
    const size_t length = std::min<size_t>(1 + random_() % 64, altered.size() - at);
    switch (random_() % 5) {
      case 0:
        altered[at] = static_cast<char>(altered[at] ^ (1 << (random_() % 8)));
        break;
      case 1:
        for (size_t i = 0; i < length; ++i) altered[at + i] = static_cast<char>(random_());
        break;
      case 2:
        altered.erase(at, length);
        break;
      case 3:
        altered.insert(draw(), altered.substr(at, length));
        break;
      default:  // the end holds the settings of the normaliser and the trainer
        for (int i = 0; i < 3; ++i) {
          altered[altered.size() - 1 - random_() % 300] = static_cast<char>(random_());
        }
    }
    return altered;
  }

 private:
  size_t draw() { return random_() % model_.size(); }

  std::string model_;
  std::mt19937 random_{11};
};

TEST(HostileTokenizer, AnOversizedFileIsRefused) {
  const Scratch scratch;
  const std::string path = scratch.write("large.model", "");
  std::filesystem::resize_file(path, kMaxModelBytes + 1);
  const std::string message = message_of<UserError>([&] { Tokenizer::load(path); });
  EXPECT_THAT(message, HasSubstr("large.model: 16777217 bytes"));
  EXPECT_THAT(message, HasSubstr("more than 16777216 is read; give one"));
  std::filesystem::resize_file(path, kMaxModelBytes);
  EXPECT_THAT(message_of<UserError>([&] { Tokenizer::load(path); }), HasSubstr("not a"));
  EXPECT_THAT(message_of<UserError>([&] { Tokenizer::load("/dev/zero"); }),
              HasSubstr("/dev/zero: more than 16777216 bytes"));
}

TEST(HostileTokenizer, TruncatedFilesAreUsedOrRefused) {
  const std::string model = small_model("identity");
  for (size_t length = 0; length < model.size(); length += 1 + model.size() / 150) {
    const Ended ended = try_model(model.substr(0, length));
    EXPECT_TRUE(ended.exit_code == kUsed || ended.exit_code == kRefused)
        << length << " bytes: exit code " << ended.exit_code << ", signal " << ended.signal;
  }
}

// Chance finds no crash where the normaliser holds no double array; design does (the next but one).
TEST(HostileTokenizer, AlteredFilesAreUsedOrRefused) {
  const std::string model = small_model("identity");
  Alterations alterations(model);
  int used = 0;
  for (int i = 0; i < 300; ++i) {
    const Ended ended = try_model(alterations.next());
    EXPECT_TRUE(ended.exit_code == kUsed || ended.exit_code == kRefused)
        << "alteration " << i << ": exit code " << ended.exit_code << ", signal " << ended.signal;
    used += ended.exit_code == kUsed;
  }
  EXPECT_EQ(try_model(model).exit_code, kUsed);
  EXPECT_GT(used, 0);
  EXPECT_LT(used, 300);
}

TEST(HostileTokenizer, AnAlteredNormaliserCrashesAtWorst) {
  Alterations alterations(small_model("nmt_nfkc"));
  for (int i = 0; i < 200; ++i) {
    const Ended ended = try_model(alterations.next());
    EXPECT_TRUE(ended.exit_code == kUsed || ended.exit_code == kRefused || ended.crashed())
        << "alteration " << i << ": exit code " << ended.exit_code << ", signal " << ended.signal;
  }
}

// 100 user-defined pieces, each a prefix of the next: SentencePiece has room for 64 that match.
TEST(HostileTokenizer, PiecesWithinPiecesCrashAtWorst) {
  std::string model = small_model("identity");
  for (int length = 1; length <= 100; ++length) {
    model += piece_field(std::string(length, '@'), kUserDefined);
  }
  const Ended ended = try_model(model);
  EXPECT_TRUE(ended.exit_code == kUsed || ended.exit_code == kRefused || ended.crashed())
      << "exit code " << ended.exit_code << ", signal " << ended.signal;
}

TEST(HostileTokenizer, AModelThatCannotEncodeIsTheUsersMistake) {
  const std::string model = small_model("identity") + piece_field("@", kControl);
  const Tokenizer tokenizer = Tokenizer::parse(model, "m");
  std::vector<int> ids;
  EXPECT_THAT(message_of<UserError>([&] { tokenizer.encode("the @", ids); }),
              HasSubstr("the tokenizer cannot encode: SentencePiece says \"all normalized"));
}

}  // namespace
}  // namespace mapl::data
