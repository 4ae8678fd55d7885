#include "link/frame.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mapl::link {
namespace {

// The worked example of docs/wire_format.md.
Frame example() {
  return {.header = {.kind = Kind::kGradient,
                     .packing = 2,
                     .boundary = 1,
                     .step = 300,
                     .micro_batch = 5,
                     .sent_ns = 1'000'000'000},
          .payload = {std::byte{0xde}, std::byte{0xad}, std::byte{0xbe}, std::byte{0xef}}};
}

std::string hex(ByteSpan bytes) {
  std::string text;
  for (std::byte b : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<int>(b) >> 4];
    text += kDigits[std::to_integer<int>(b) & 15];
  }
  return text;
}

TEST(Frame, HeaderIsTheWorkedExample) {
  EXPECT_EQ(hex(encode_header(example())),
            "4d41504c"          // "MAPL"
            "0200"              // wire version 2
            "03"                // gradient
            "02"                // packing 2
            "2c01000000000000"  // step 300
            "0400000000000000"  // 4 payload bytes
            "00ca9a3b00000000"  // sent at 10^9 ns
            "05000000"          // micro-batch 5
            "0100"              // boundary 1
            "0000"              // reserved
            "4fdb47bfec3c2e22");
}

TEST(Frame, HeaderSurvivesTheWire) {
  const Frame frame = example();
  const Bytes bytes = encode_header(frame);
  const auto header = decode_header(bytes, 4);
  ASSERT_TRUE(header.is_ok()) << header.status().to_string();
  EXPECT_EQ(header.value().kind, Kind::kGradient);
  EXPECT_EQ(header.value().packing, 2);
  EXPECT_EQ(header.value().boundary, 1);
  EXPECT_EQ(header.value().step, 300u);
  EXPECT_EQ(header.value().micro_batch, 5u);
  EXPECT_EQ(header.value().payload_bytes, 4u);
  EXPECT_EQ(header.value().sent_ns, 1'000'000'000);
  EXPECT_TRUE(check_payload(bytes, frame.payload).is_ok());
}

TEST(Frame, EveryFlippedBitIsFound) {
  const Frame frame = example();
  const Bytes good = encode_header(frame);
  for (size_t bit = 0; bit < 8 * (good.size() + frame.payload.size()); ++bit) {
    Bytes header = good;
    Bytes payload = frame.payload;
    Bytes& where = bit / 8 < header.size() ? header : payload;
    where[bit / 8 % kHeaderBytes] ^= static_cast<std::byte>(1 << bit % 8);
    const auto decoded = decode_header(header, 1 << 20);
    EXPECT_FALSE(decoded.is_ok() && check_payload(header, payload).is_ok()) << "bit " << bit;
  }
}

TEST(Frame, TruncatedHeaderAndPayloadAreRefused) {
  const Frame frame = example();
  const Bytes header = encode_header(frame);
  for (size_t size = 0; size < header.size(); ++size) {
    EXPECT_EQ(decode_header(ByteSpan(header).first(size), 4).status().code(), Code::kCorrupt);
  }
  EXPECT_EQ(check_payload(header, ByteSpan(frame.payload).first(3)).code(), Code::kCorrupt);
  EXPECT_EQ(check_payload(header, {}).code(), Code::kCorrupt);
}

TEST(Frame, OversizeAnnouncementIsRefused) {
  EXPECT_EQ(decode_header(encode_header(example()), 3).status().code(), Code::kCorrupt);
}

TEST(Frame, AnotherVersionIsRefusedBeforeAnythingElse) {
  Bytes header = encode_header(example());
  header[4] = std::byte{9};
  header[6] = std::byte{200};
  EXPECT_EQ(decode_header(header, 4).status().code(), Code::kRefused);
}

TEST(Frame, EveryKindHasItsOwnName) {
  std::set<std::string> names;
  for (int kind = 1; kind <= 9; ++kind) names.insert(kind_name(static_cast<Kind>(kind)));
  EXPECT_EQ(names.size(), 9u);
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace mapl::link
