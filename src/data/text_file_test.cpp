#include "data/text_file.h"

#include "base/status.h"
#include "data/scratch.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;

std::string all(TextFile& file) {
  std::string text;
  while (file.read(text)) {
  }
  return text;
}

std::string replaced(const std::string& bytes, int64_t* count = nullptr) {
  const Scratch scratch;
  TextFile file(scratch.write("a.txt", bytes), InvalidUtf8::kReplace);
  const std::string text = all(file);
  if (count != nullptr) *count = file.num_replaced();
  return text;
}

std::string encode(uint32_t point) {
  if (point < 0x80) return {static_cast<char>(point)};
  std::string tail;
  uint32_t lead_mark = 0xC0;
  for (uint32_t limit = 0x20;; limit >>= 1) {
    tail.insert(tail.begin(), static_cast<char>(0x80 | (point & 0x3F)));
    point >>= 6;
    if (point < limit) break;
    lead_mark = 0x80 | lead_mark >> 1;
  }
  return static_cast<char>(lead_mark | point) + tail;
}

TEST(Utf8Sequence, AcceptsEveryScalarValueAndNoSurrogate) {
  for (uint32_t point = 0; point <= 0x10FFFF; ++point) {
    const std::string bytes = encode(point);
    const bool surrogate = point >= 0xD800 && point < 0xE000;
    ASSERT_EQ(utf8_sequence(bytes + "x"), surrogate ? -1 : static_cast<int>(bytes.size())) << point;
  }
  EXPECT_LT(utf8_sequence(encode(0x110000)), 0);
}

TEST(Utf8Sequence, RefusesOverlongFormsAndWaitsForTheRest) {
  EXPECT_EQ(utf8_sequence("\xC0\x80"), -1);
  EXPECT_EQ(utf8_sequence("\xE0\x80\x80"), -1);
  EXPECT_EQ(utf8_sequence("\xF0\x8F\xBF\xBF"), -1);
  EXPECT_EQ(utf8_sequence("\x80"), -1);
  EXPECT_EQ(utf8_sequence("\xFF"), -1);
  EXPECT_EQ(utf8_sequence("\xE2\x82"), 0);
  EXPECT_EQ(utf8_sequence("\xE2\x82x"), -2);
}

// The example of the Unicode standard's chapter 3 (15.0, tables 3-8 to 3-11).
TEST(TextFile, ReplacesMaximalSubpartsAsUnicodeSays) {
  const std::string r = "\xEF\xBF\xBD";
  int64_t count = 0;
  EXPECT_EQ(replaced("\xF4\x91\x92\x93\xFF"
                     "A\x80\xBF"
                     "B",
                     &count),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(count, 7);
  EXPECT_EQ(replaced("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                     "A"),
            r + r + r + r + "A");
  EXPECT_EQ(replaced("end \xE2\x82"), "end " + r);
}

TEST(TextFile, KeepsCharactersThatLieAcrossBlocks) {
  // Three bytes do not divide a block of 2^20, so that every kind of cut occurs.
  std::string text;
  while (text.size() < (size_t{5} << 20)) text += "\xE2\x82\xAC";
  int64_t count = -1;
  EXPECT_TRUE(replaced(text, &count) == text);
  EXPECT_EQ(count, 0);
}

TEST(TextFile, RefusesWithFileAndOffset) {
  const Scratch scratch;
  for (const size_t offset : {size_t{0}, size_t{7}, (size_t{1} << 20) - 1, (size_t{1} << 20) + 5}) {
    const std::string path =
        scratch.write("a.txt", std::string(offset, 'a') + "\x92" + std::string(9, 'b'));
    TextFile file(path, InvalidUtf8::kRefuse);
    const std::string message = message_of<UserError>([&] { all(file); });
    EXPECT_THAT(message, HasSubstr(path));
    EXPECT_THAT(message, HasSubstr("byte " + std::to_string(offset) + " (0x92)"));
    EXPECT_THAT(message, HasSubstr("--invalid-utf8 replace"));
  }
  TextFile cut(scratch.write("b.txt", "abc\xE2\x82"), InvalidUtf8::kRefuse);
  EXPECT_THAT(message_of<UserError>([&] { all(cut); }), HasSubstr("byte 3 (0xE2)"));
}

TEST(TextFile, RefusesWhatIsNoFile) {
  const Scratch scratch;
  EXPECT_THAT(message_of<UserError>([&] { TextFile(scratch.path("none"), InvalidUtf8::kRefuse); }),
              HasSubstr("No such file"));
  EXPECT_THAT(message_of<UserError>([&] { TextFile(scratch.path(""), InvalidUtf8::kRefuse); }),
              HasSubstr("not a regular file"));
}

TEST(TextFile, AnEmptyFileIsEmptyText) { EXPECT_EQ(replaced(""), ""); }

}  // namespace
}  // namespace mapl::data
