#include "data/tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <random>

#include "base/status.h"
#include "data/scratch.h"
#include "data/shards.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

std::string train(const std::vector<std::string>& texts, Tokenizer::TrainOptions options) {
  size_t used = 0;
  return Tokenizer::train(
      [&](std::string& text) {
        if (used == texts.size()) return false;
        text = texts[used++];
        return true;
      },
      options);
}

// Sentences of made-up words: enough for some hundred pieces.
std::vector<std::string> some_texts() {
  std::mt19937 random(5);
  const char* syllables[] = {"ba", "ko", "li", "ther", "ing", "un", "ste", "mo", "qui", "é"};
  std::vector<std::string> texts;
  for (int t = 0; t < 300; ++t) {
    std::string text;
    for (int word = 0; word < 30; ++word) {
      for (uint32_t s = 0; s < 1 + random() % 3; ++s) text += syllables[random() % 10];
      text += ' ';
    }
    texts.push_back(text);
  }
  return texts;
}

class TokenizerTest : public testing::Test {
 protected:
  std::string round_trip(const std::string& text) const {
    std::vector<int> ids;
    tokenizer_.encode(text, ids);
    return tokenizer_.decode(ids);
  }

  const Tokenizer tokenizer_ = Tokenizer::parse(train(some_texts(), {.vocab_size = 400}), "test");
};

TEST_F(TokenizerTest, TextSurvives) {
  EXPECT_EQ(tokenizer_.vocab_size(), 400);
  for (const std::string text : {"bakoli thering", "", " ", "  two  spaces ", "new\nline\ttab\r\n",
                                 "日本語 ünï 🎈 ﬁ Å", "<s> </s> <unk> <0x41>", "\xEF\xBF\xBD"}) {
    EXPECT_EQ(round_trip(text), text);
  }
  EXPECT_EQ(round_trip(std::string("nul\0nul", 7)), std::string("nul\0nul", 7));
}

TEST_F(TokenizerTest, RandomUnicodeSurvives) {
  std::mt19937 random(6);
  const char* characters[] = {"a", "ing",    " ",      "\n", "é",   "€",
                              "🎈", "\u0301", "\u00A0", "<",  "\x7F"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint32_t i = 0; i < random() % 40; ++i) text += characters[random() % 11];
    EXPECT_EQ(round_trip(text), text);
  }
}

TEST_F(TokenizerTest, CommonWordsTakeFewTokens) {
  std::vector<int> ids;
  tokenizer_.encode("thering bakoli", ids);
  EXPECT_LE(ids.size(), 6u);  // of 14 characters
  EXPECT_TRUE(std::all_of(ids.begin(), ids.end(), [](int id) { return id > 2 && id < 400; }));
}

TEST_F(TokenizerTest, SpecialIdsAreFixedAndGiveNoText) {
  EXPECT_EQ(tokenizer_.unknown(), 0);
  EXPECT_EQ(tokenizer_.bos(), 1);
  EXPECT_EQ(tokenizer_.decode(std::vector<int>{1, 2}), "");
}

TEST_F(TokenizerTest, RefusesToDecodeForeignIds) {
  EXPECT_THAT(message_of<UserError>([&] {
                tokenizer_.decode(std::vector<int>{5, 400});
              }),
              HasSubstr("id 400 is not in the vocabulary of 400"));
  EXPECT_THAT(message_of<UserError>([&] { tokenizer_.decode(std::vector<int>{-1}); }),
              HasSubstr("id -1"));
}

TEST_F(TokenizerTest, TheSameTextGivesTheSameModel) {
  EXPECT_EQ(train(some_texts(), {.vocab_size = 400}), tokenizer_.model());
}

TEST_F(TokenizerTest, IsReadBackFromItsFile) {
  const Scratch scratch;
  const Tokenizer loaded = Tokenizer::load(scratch.write("t.model", tokenizer_.model()));
  std::vector<int> expected;
  std::vector<int> got;
  tokenizer_.encode("unstemo quié", expected);
  loaded.encode("unstemo quié", got);
  EXPECT_EQ(got, expected);
}

TEST(TokenizerTraining, EndlessWordsAndRunsOfSpacesDoNotStopIt) {
  std::vector<std::string> texts = some_texts();
  texts.push_back(std::string(200'000, 'x'));
  texts.push_back(std::string(100'000, ' ') + "€");
  std::string euros;
  for (int i = 0; i < 50'000; ++i) euros += "€";
  texts.push_back(euros);
  for (const bool runs : {false, true}) {
    const std::string model = train(texts, {.vocab_size = 400, .whitespace_runs = runs});
    EXPECT_EQ(Tokenizer::parse(model, "test").vocab_size(), 400);
  }
}

TEST(TokenizerTraining, KeptWhiteSpaceGetsPieces) {
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(fmt::format("if a{}:\n        b = {}\n        return b\n", i % 7, i % 9));
  }
  const Tokenizer tokenizer =
      Tokenizer::parse(train(texts, {.vocab_size = 300, .whitespace_runs = true}), "test");
  std::vector<int> ids;
  tokenizer.encode("        ", ids);
  EXPECT_LE(ids.size(), 2u);
  tokenizer.encode(texts[3], ids);
  EXPECT_EQ(tokenizer.decode(ids), texts[3]);
}

TEST(TokenizerTraining, RefusesAVocabularyTheTextCannotGive) {
  const std::vector<std::string> texts(20, "to be or not to be");
  const std::string large = message_of<UserError>([&] { train(texts, {.vocab_size = 5000}); });
  EXPECT_THAT(large, HasSubstr("5000 pieces"));
  EXPECT_THAT(large, Not(HasSubstr(".cc")));
  EXPECT_THAT(large, HasSubstr("--vocab-size"));
  EXPECT_THAT(message_of<UserError>([&] { train(texts, {.vocab_size = 100}); }),
              HasSubstr("100 pieces"));
  EXPECT_THAT(message_of<UserError>([&] { train(texts, {.vocab_size = 65537}); }),
              HasSubstr("uint16"));
  EXPECT_THAT(message_of<UserError>([&] { train(texts, {.vocab_size = 0}); }),
              HasSubstr("vocabulary size 0"));
  EXPECT_THAT(message_of<UserError>([&] { train({}, {.vocab_size = 400}); }), HasSubstr("no text"));
}

TEST(TokenizerLoading, RefusesWhatIsNoModel) {
  const Scratch scratch;
  EXPECT_THAT(message_of<UserError>([&] { Tokenizer::load(scratch.path("none.model")); }),
              HasSubstr("none.model: No such file"));
  EXPECT_THAT(message_of<UserError>([&] { Tokenizer::load(scratch.write("a", "hello")); }),
              HasSubstr("not a SentencePiece model"));
  EXPECT_THAT(message_of<UserError>([&] { Tokenizer::load(scratch.write("b", "")); }),
              HasSubstr("not a SentencePiece model (0 bytes)"));
}

// A model of whole words, one piece each.
std::string word_model(int num_words, int bos_id) {
  const Scratch scratch;
  std::string text;
  for (int w = 0; w < num_words; ++w) text += fmt::format("w{}\n", w);
  const auto status =
      sentencepiece::SentencePieceTrainer::Train({{"input", scratch.write("text", text)},
                                                  {"model_prefix", scratch.path("m")},
                                                  {"model_type", "word"},
                                                  {"use_all_vocab", "true"},
                                                  {"bos_id", std::to_string(bos_id)},
                                                  {"minloglevel", "3"}});
  EXPECT_TRUE(status.ok()) << status.ToString();
  return scratch.read("m.model");
}

TEST(TokenizerLoading, RefusesAModelThatShardsCannotHold) {
  EXPECT_EQ(Tokenizer::parse(word_model(100, 1), "m").vocab_size(), 103);
  EXPECT_THAT(message_of<UserError>([] { Tokenizer::parse(word_model(100, -1), "m"); }),
              HasSubstr("tokenizer m: no BOS piece"));
  EXPECT_THAT(message_of<UserError>([] { Tokenizer::parse(word_model(66'000, 1), "m"); }),
              HasSubstr("tokenizer m: 66003 pieces"));
}

}  // namespace
}  // namespace mapl::data
