#include "link/hello.h"

#include <gtest/gtest.h>

#include <thread>

#include "link/inproc.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;

Hello hello(uint32_t stage) {
  return {.mapl_version = "0.1.0", .recipe_hash = 0x1234, .stage = stage, .num_stages = 4};
}

// Stage 1 as it is, greeted by stage 2 which expects it as it should be; what each end says.
std::pair<Status, Status> meet(const Hello& one, const Hello& two) {
  auto [a, b] = make_inproc_pair({}, {});
  Status first;
  std::jthread other([&, link = a.get()] {
    Hello expected = one;
    expected.stage = 2;
    first = greet(*link, one, expected, in_seconds(kPatience));
  });
  Hello expected = two;
  expected.stage = 1;
  const Status second = greet(*b, two, expected, in_seconds(kPatience));
  other.join();
  return {first, second};
}

void expect_refused(const Hello& one, const Hello& two, const std::string& word) {
  for (const Status& status : {meet(one, two).first, meet(one, two).second}) {
    EXPECT_EQ(status.code(), Code::kRefused) << status.to_string();
    EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
  }
}

TEST(Hello, SurvivesTheWire) {
  const Bytes bytes = encode_hello(hello(3));
  ASSERT_EQ(bytes.size(), static_cast<size_t>(kHelloBytes));
  const auto decoded = decode_hello(bytes);
  ASSERT_TRUE(decoded.is_ok());
  EXPECT_EQ(decoded.value().wire_version, kWireVersion);
  EXPECT_EQ(decoded.value().mapl_version, "0.1.0");
  EXPECT_EQ(decoded.value().recipe_hash, 0x1234u);
  EXPECT_EQ(decoded.value().stage, 3u);
  EXPECT_EQ(decoded.value().num_stages, 4u);
}

TEST(Hello, LayoutIsTheDocumentedOne) {
  const Bytes bytes = encode_hello(hello(3));
  EXPECT_EQ(read_at<uint16_t>(bytes, 0), kWireVersion);
  EXPECT_EQ(read_at<uint32_t>(bytes, 4), 3u);
  EXPECT_EQ(read_at<uint32_t>(bytes, 8), 4u);
  EXPECT_EQ(read_at<uint64_t>(bytes, 16), 0x1234u);
  EXPECT_EQ(read_at<char>(bytes, 24), '0');
  EXPECT_EQ(read_at<char>(bytes, 29), '\0');
}

TEST(Hello, WrongLengthAndReservedBytesAreRefused) {
  Bytes bytes = encode_hello(hello(0));
  EXPECT_EQ(decode_hello(ByteSpan(bytes).first(47)).status().code(), Code::kCorrupt);
  bytes[13] = std::byte{1};
  EXPECT_EQ(decode_hello(bytes).status().code(), Code::kCorrupt);
}

TEST(Hello, TheRightPeersGreet) {
  const auto [first, second] = meet(hello(1), hello(2));
  EXPECT_TRUE(first.is_ok()) << first.to_string();
  EXPECT_TRUE(second.is_ok()) << second.to_string();
}

TEST(Hello, AnotherVersionIsRefusedAtBothEnds) {
  Hello newer = hello(1);
  newer.mapl_version = "0.2.0";
  expect_refused(newer, hello(2), "0.2.0");
}

TEST(Hello, AnotherRecipeIsRefusedAtBothEnds) {
  Hello other = hello(2);
  other.recipe_hash = 0x5678;
  expect_refused(hello(1), other, "0000000000005678");
}

TEST(Hello, AnotherNumberOfStagesIsRefusedAtBothEnds) {
  Hello other = hello(2);
  other.num_stages = 3;
  expect_refused(hello(1), other, "of 3");
}

TEST(Hello, AnotherStageIsRefused) {
  const auto [first, second] = meet(hello(0), hello(2));
  EXPECT_EQ(second.code(), Code::kRefused);
  EXPECT_NE(second.message().find("stage 1 of 4 was expected here, stage 0 of 4 answers"),
            std::string::npos)
      << second.message();
}

TEST(Hello, AnotherFrameIsRefused) {
  auto [a, b] = make_inproc_pair({}, {});
  ASSERT_TRUE(a->send({.header = {.kind = Kind::kVote}}, in_seconds(kPatience)).is_ok());
  EXPECT_EQ(greet(*b, hello(1), hello(0), in_seconds(kPatience)).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::link
