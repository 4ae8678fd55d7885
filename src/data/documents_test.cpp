#include "data/documents.h"

#include <fmt/format.h>

#include <random>

#include "base/status.h"
#include "data/scratch.h"

namespace mapl::data {
namespace {

using testing::ElementsAre;

std::vector<std::string> split(const std::vector<std::string>& texts,
                               const Documents::Options& options) {
  const Scratch scratch;
  std::vector<std::string> paths;
  for (const std::string& text : texts) {
    paths.push_back(scratch.write(std::to_string(paths.size()), text));
  }
  Documents documents(paths, options);
  std::vector<std::string> all;
  std::string document;
  while (documents.next(document)) all.push_back(document);
  EXPECT_FALSE(documents.next(document));
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size());
  EXPECT_EQ(documents.bytes_read(), bytes);
  return all;
}

constexpr auto kKeep = Whitespace::kKeep;

TEST(Documents, AnEntryEndsAtABlankLineBeforeAnUnindentedOne) {
  const std::string text =
      "\n\nApple \\n.\n   A fruit.\n\n   Syn: pome\n \t \nBe\nhave\n\n\n\nCat\n";
  EXPECT_THAT(split({text}, {}), ElementsAre("Apple \\n. A fruit. Syn: pome", "Be have", "Cat"));
  EXPECT_THAT(split({text}, {.whitespace = kKeep}),
              ElementsAre("Apple \\n.\n   A fruit.\n\n   Syn: pome\n \t ", "Be\nhave", "Cat"));
}

TEST(Documents, ReadWindowsLineEndsAlike) {
  EXPECT_THAT(split({"a\r\n b\r\n\r\nc\r\n"}, {}), ElementsAre("a b", "c"));
  EXPECT_THAT(split({"a\r\n%%\r\nc"}, {.separator = Separator::kMark, .mark = "%%"}),
              ElementsAre("a", "c"));
}

TEST(Documents, EveryLineOrEveryFile) {
  EXPECT_THAT(split({"a  b\n\n c", "d"}, {.separator = Separator::kLine}),
              ElementsAre("a b", "c", "d"));
  EXPECT_THAT(split({"a  b\n\n c\n", "d"}, {.separator = Separator::kLine, .whitespace = kKeep}),
              ElementsAre("a  b", " c", "d"));
  EXPECT_THAT(split({"a\n\nb\n", "", "c"}, {.separator = Separator::kFile, .whitespace = kKeep}),
              ElementsAre("a\n\nb", "c"));
}

TEST(Documents, AMarkIsAWholeLine) {
  const Documents::Options options{.separator = Separator::kMark, .mark = "--"};
  EXPECT_THAT(split({"--\na\n --\nb--\n--\n--\nc\n--"}, options), ElementsAre("a -- b--", "c"));
}

TEST(Documents, TheEndOfAFileEndsADocument) {
  EXPECT_THAT(split({"a\n  more", "  b\n"}, {}), ElementsAre("a more", "b"));
}

TEST(Documents, NoTextIsNoDocument) {
  EXPECT_THAT(split({"", " \n\n\t\n"}, {}), ElementsAre());
  EXPECT_THAT(split({}, {}), ElementsAre());
}

TEST(Documents, LongOnesAreCutAtSpacesOrElseBetweenCharacters) {
  Documents::Options options{.separator = Separator::kFile, .whitespace = kKeep, .max_bytes = 8};
  EXPECT_THAT(split({"one two three"}, options), ElementsAre("one two ", "three"));
  EXPECT_THAT(split({"abcdefghijk"}, options), ElementsAre("abcdefgh", "ijk"));
  EXPECT_THAT(split({"a€€€€€"}, options), ElementsAre("a€€", "€€", "€"));
  EXPECT_THAT(split({"12345678"}, options), ElementsAre("12345678"));
}

TEST(Documents, ARestOfALineIsNoMark) {
  const Documents::Options options{.separator = Separator::kMark, .mark = "%%", .max_bytes = 6};
  EXPECT_THAT(split({"abcd %%\n%%\nef"}, options), ElementsAre("abcd", "%%", "ef"));
}

TEST(Documents, AFileLargerThanTheReadBufferIsCutTheSame) {
  std::mt19937 random(1);
  std::string text;
  std::vector<std::string> expected;
  while (text.size() < (size_t{5} << 20)) {
    std::string folded = fmt::format("h{}", expected.size());
    text += folded + "\n";
    for (uint32_t line = 0; line < random() % 400; ++line) {
      const std::string word(1 + random() % 50, 'x');
      text += "\t" + word + " €\n" + (random() % 4 == 0 ? "\n" : "");
      folded += " " + word + " €";
    }
    text += "\n";
    expected.push_back(folded);
  }
  EXPECT_TRUE(split({text, text}, {}) == [&] {
    std::vector<std::string> twice = expected;
    twice.insert(twice.end(), expected.begin(), expected.end());
    return twice;
  }());
}

TEST(Documents, OneEndlessLineIsReadInPieces) {
  const std::string text(size_t{3} << 20, 'x');
  for (const auto separator : {Separator::kEntry, Separator::kLine, Separator::kFile}) {
    const auto parts = split({text}, {.separator = separator});
    EXPECT_THAT(parts, testing::SizeIs(3));
    for (const std::string& part : parts) EXPECT_EQ(part.size(), size_t{1} << 20);
  }
}

TEST(Documents, NothingButWhiteSpaceIsLost) {
  std::mt19937 random(2);
  const std::string pieces[] = {"a", "b", " ", "\n", "\n\n", "\t", "€", "%%\n"};
  for (int round = 0; round < 100; ++round) {
    std::string text;
    for (uint32_t i = 0; i < random() % 60; ++i) text += pieces[random() % std::size(pieces)];
    for (const auto separator : {Separator::kEntry, Separator::kLine, Separator::kFile}) {
      std::string joined;
      const int64_t max_bytes = 4 + random() % 20;
      for (const std::string& part :
           split({text}, {.separator = separator, .whitespace = kKeep, .max_bytes = max_bytes})) {
        EXPECT_LE(part.size(), static_cast<size_t>(max_bytes));
        joined += part;
      }
      std::erase_if(joined, [](unsigned char c) { return std::isspace(c); });
      std::string visible = text;
      std::erase_if(visible, [](unsigned char c) { return std::isspace(c); });
      EXPECT_EQ(joined, visible) << testing::PrintToString(text);
    }
  }
}

TEST(Documents, CountsWhatItReplaces) {
  const Scratch scratch;
  Documents documents({scratch.write("a", "x\x92"), scratch.write("b", "\xE7")},
                      {.invalid_utf8 = InvalidUtf8::kReplace});
  std::string document;
  while (documents.next(document)) {
  }
  EXPECT_EQ(documents.num_replaced(), 2);
}

}  // namespace
}  // namespace mapl::data
