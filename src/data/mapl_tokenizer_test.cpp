// Runs the program itself; MAPL_TOKENIZER is its path.
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdlib>
#include <random>

#include "data/scratch.h"
#include "data/shards.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class MaplTokenizer : public testing::Test {
 protected:
  struct Ran {
    int exit_code;
    std::string out;
    std::string err;
  };

  MaplTokenizer() {
    std::mt19937 random(8);
    const char* words[] = {"one", "two", "three", "four", "fünf", "sechs"};
    std::string text;
    for (int d = 0; d < 500; ++d) {
      text += fmt::format("entry {}\n", d);
      for (int w = 0; w < 20; ++w) text += fmt::format("   {}\n", words[random() % 6]);
      text += "\n";
    }
    scratch_.write("text.txt", text);
  }

  Ran run(const std::string& arguments, const std::string& input = "",
          const std::string& before = "") {
    scratch_.write("in", input);
    const int status = std::system(fmt::format("cd '{}' && {} '{}' {} < in > out 2> err",
                                               scratch_.path(""), before, MAPL_TOKENIZER, arguments)
                                       .c_str());
    return {WEXITSTATUS(status), scratch_.read("out"), scratch_.read("err")};
  }

  void expect_mistake(const std::string& arguments, const std::string& part,
                      const std::string& input = "") {
    const Ran ran = run(arguments, input);
    EXPECT_EQ(ran.exit_code, 2) << arguments;
    const size_t error = ran.err.rfind("mapl: error: ");
    ASSERT_NE(error, std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find("error"), error + 6) << ran.err;  // the only one
    EXPECT_EQ(ran.err.find('\n', error), ran.err.size() - 1) << ran.err;
    EXPECT_THAT(ran.err.substr(error), HasSubstr(part));
    EXPECT_FALSE(std::filesystem::exists(scratch_.path("new")));
  }

  Scratch scratch_;
};

TEST_F(MaplTokenizer, MakesShardsAndItsTextSurvives) {
  const Ran made = run("data --text text.txt --vocab-size 320 --out set --validation-fraction 0.1");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("documents           500\n"));
  EXPECT_THAT(made.out, HasSubstr("tokenizer           320 pieces\n"));
  EXPECT_THAT(made.err, HasSubstr("MB/s"));
  EXPECT_LT(made.err.size(), 500u);  // SentencePiece keeps quiet
  Shard(scratch_.path("set/train_0000.bin")).check_vocabulary(320);
  Shard(scratch_.path("set/val_0000.bin")).check_vocabulary(320);

  const std::string text = "one two fünf\n  weiß  \n\n日本 🎈\n";
  const Ran encoded = run("encode --model set/tokenizer.model", text);
  EXPECT_EQ(encoded.exit_code, 0);
  EXPECT_EQ(std::count(encoded.out.begin(), encoded.out.end(), '\n'), 4);
  EXPECT_THAT(encoded.out, HasSubstr("]\n[]\n["));
  EXPECT_EQ(run("decode --model set/tokenizer.model", encoded.out).out, text);

  const std::string strings = "\"two\\nlines\"\n\"\\u00fc \\\"q\\\"\"\n";
  const Ran with_bos = run("encode --json --bos --model set/tokenizer.model", strings);
  EXPECT_THAT(with_bos.out, StartsWith("[1,"));
  EXPECT_EQ(run("decode --json --model set/tokenizer.model", with_bos.out).out,
            "\"two\\nlines\"\n\"ü \\\"q\\\"\"\n");

  expect_mistake("decode --model set/tokenizer.model", "id 320 is not in", "[320]\n");
  expect_mistake("decode --model set/tokenizer.model", "line 2: received \"[3,\"", "[3]\n[3,\n");
  expect_mistake("encode --json --model set/tokenizer.model", "a JSON string", "bare\n");
}

TEST_F(MaplTokenizer, SeparatorsAndWhiteSpaceAreOptions) {
  const std::string common = "data --text text.txt --vocab-size 320 --validation-fraction 0.1 ";
  EXPECT_THAT(run(common + "--out a --separator line").out, HasSubstr("documents         10500\n"));
  EXPECT_THAT(run(common + "--out b --separator-line '   fünf' --whitespace keep").exit_code, 0);
  expect_mistake(common + "--out new --separator word", "--separator");
  expect_mistake(common + "--out new --separator line --separator-line x", "excludes");
}

TEST_F(MaplTokenizer, MistakesAreOneLineAndExitCodeTwo) {
  expect_mistake("", "subcommand");
  expect_mistake("dta", "subcommand");
  expect_mistake("data --text text.txt --out new", "--vocab-size");
  expect_mistake("data --text text.txt --out new --vocab-size 320 --model m", "--vocab-size");
  expect_mistake("data --text text.txt --out new --vocab-size 65537", "uint16");
  expect_mistake("data --text text.txt --out new --vocab-size 50000", "50000 pieces");
  expect_mistake("data --text none.txt --out new --vocab-size 320", "none.txt");
  expect_mistake("data --text text.txt --out new --model none.model", "none.model");
  scratch_.write("latin1.txt", "na\xEFve");
  expect_mistake("data --text latin1.txt --out new --vocab-size 320", "byte 2 (0xEF)");
  expect_mistake("data --text text.txt --out . --vocab-size 320", "exists");
}

TEST_F(MaplTokenizer, AFullDiskIsOneErrorAndLeavesNothing) {
  const Ran ran = run("data --text text.txt --vocab-size 320 --out new", "",
                      "trap '' XFSZ; ulimit -f 16; exec");
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("mapl: error: "));
  EXPECT_THAT(ran.err, HasSubstr("train_0000.bin: cannot write"));
  EXPECT_THAT(scratch_.names(), testing::ElementsAre("err", "in", "out", "text.txt"));
}

// A field of protobuf: number, length, bytes.
std::string field(int number, const std::string& bytes) {
  std::string made(1, static_cast<char>(number << 3 | 2));
  size_t length = bytes.size();
  for (; length > 127; length >>= 7) made += static_cast<char>(length | 128);
  return made + static_cast<char>(length) + bytes;
}

// A good model whose normaliser (field 3 of a model; its field 2 is a double array of one unit, 4
// bytes long, and the text "x") sends the reader of the first character gigabytes away.
TEST_F(MaplTokenizer, AModelThatCrashesSentencePieceIsOneErrorAndLeavesNothing) {
  ASSERT_EQ(run("data --text text.txt --vocab-size 320 --out set").exit_code, 0);
  const std::string far(
      "\x04\0\0\0\0\xFE\xFF\xFF"
      "x",
      9);
  scratch_.write("bad.model", scratch_.read("set/tokenizer.model") + field(3, field(2, far)));
  const std::string crash = "tokenizer bad.model: SentencePiece crashed while working with it";
  ::setenv("ASAN_OPTIONS", "handle_segv=0", 1);
  expect_mistake("encode --model bad.model", crash, "text\n");
  expect_mistake("data --text text.txt --out new --model bad.model", crash);
  ::unsetenv("ASAN_OPTIONS");
  EXPECT_THAT(scratch_.names(),
              testing::ElementsAre("bad.model", "err", "in", "out", "set", "text.txt"));
}

// A good model with a piece (field 1; its type, field 3, is user-defined) that the text of its
// self-test (field 4) nearly matches at each of its 4 million places.
TEST_F(MaplTokenizer, AModelThatTakesHoursToLoadIsOneErrorAndLeavesNothing) {
  ASSERT_EQ(run("data --text text.txt --vocab-size 320 --out set").exit_code, 0);
  const std::string piece = field(1, std::string(60'000, 'a') + 'b') + "\x18\x04";
  const std::string self_test = field(1, field(1, std::string(4'000'000, 'a')) + field(2, "a"));
  scratch_.write("bad.model",
                 scratch_.read("set/tokenizer.model") + field(1, piece) + field(4, self_test));
  const std::string late = "tokenizer bad.model: SentencePiece had not loaded it after 10 s";
  expect_mistake("data --text text.txt --out new --model bad.model", late);
  EXPECT_THAT(scratch_.names(),
              testing::ElementsAre("bad.model", "err", "in", "out", "set", "text.txt"));
}

TEST_F(MaplTokenizer, HelpIsNoError) {
  const Ran ran = run("data --help");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_THAT(ran.out, HasSubstr("--validation-fraction"));
}

}  // namespace
}  // namespace mapl::data
