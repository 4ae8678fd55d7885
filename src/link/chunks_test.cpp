#include "link/chunks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"

namespace mapl::link {
namespace {

Outgoing outgoing(size_t payload_bytes, uint64_t step = 1) {
  Frame frame{.header = {.kind = Kind::kActivation, .step = step}, .payload = Bytes(payload_bytes)};
  for (size_t i = 0; i < payload_bytes; ++i) {
    frame.payload[i] = static_cast<std::byte>(philox(step, 0, i)[0]);
  }
  Bytes header = encode_header(frame);
  return {std::move(header), std::move(frame.payload)};
}

Bytes cut(const Outgoing& from, uint64_t offset, size_t size) {
  Bytes bytes(size);
  from.copy(offset, bytes);
  return bytes;
}

TEST(Outgoing, ReadsAsHeaderThenPayload) {
  const Outgoing frame = outgoing(100);
  Bytes whole = frame.header;
  whole.insert(whole.end(), frame.payload.begin(), frame.payload.end());
  for (size_t offset = 0; offset <= whole.size(); ++offset) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{50}, whole.size() - offset}) {
      if (offset + size > whole.size()) continue;
      EXPECT_TRUE(
          std::ranges::equal(cut(frame, offset, size), ByteSpan(whole).subspan(offset, size)));
    }
  }
}

TEST(Assembler, PiecesOfAnySizeMakeTheFrameAgain) {
  Assembler assembler(1000);
  for (size_t payload : {0, 1, 500, 1000}) {
    for (size_t first : {48, 49, 100, 1048}) {
      const Outgoing frame = outgoing(payload, payload + first);
      uint64_t offset = 0;
      std::optional<Frame> received;
      while (offset < frame.size()) {
        ASSERT_FALSE(received.has_value());
        const size_t size = std::min<uint64_t>(offset == 0 ? first : 37, frame.size() - offset);
        auto result = assembler.add(cut(frame, offset, size));
        ASSERT_TRUE(result.is_ok()) << result.status().to_string();
        received = std::move(result.value());
        offset += size;
      }
      ASSERT_TRUE(received.has_value());
      EXPECT_EQ(received->payload, frame.payload);
      EXPECT_EQ(received->header.step, payload + first);
    }
  }
}

TEST(Assembler, OversizeAnnouncementIsRefusedAtTheHeader) {
  Assembler assembler(99);
  EXPECT_EQ(assembler.add(outgoing(100).header).status().code(), Code::kCorrupt);
}

TEST(Assembler, MoreBytesThanAnnouncedAreRefused) {
  Assembler assembler(1000);
  Bytes piece = cut(outgoing(100), 0, 148);
  piece.push_back(std::byte{0});
  EXPECT_EQ(assembler.add(piece).status().code(), Code::kCorrupt);
}

TEST(Assembler, HalfAHeaderAndAnEmptyPieceAreRefused) {
  EXPECT_EQ(Assembler(1000).add(cut(outgoing(100), 0, 47)).status().code(), Code::kCorrupt);
  EXPECT_EQ(Assembler(1000).add({}).status().code(), Code::kCorrupt);
  Assembler assembler(1000);
  ASSERT_TRUE(assembler.add(cut(outgoing(100), 0, 100)).is_ok());
  EXPECT_EQ(assembler.add({}).status().code(), Code::kCorrupt);
}

TEST(Assembler, ChangedPayloadIsRefused) {
  Assembler assembler(1000);
  Bytes piece = cut(outgoing(100), 0, 148);
  piece[147] ^= std::byte{1};
  EXPECT_EQ(assembler.add(piece).status().code(), Code::kCorrupt);
}

// Random bytes and random damage: an error or a frame that was sent, never a crash.
TEST(Assembler, NothingElseComesOut) {
  const Outgoing frame = outgoing(200);
  const Bytes good = cut(frame, 0, 248);
  for (uint64_t round = 0; round < 20000; ++round) {
    Bytes piece = good;
    const auto words = philox(round, 0, 0);
    piece[words[0] % piece.size()] ^= static_cast<std::byte>(words[1] % 255 + 1);
    if (words[2] % 4 == 0) piece.resize(words[3] % piece.size());
    const auto result = Assembler(1000).add(piece);
    EXPECT_FALSE(result.is_ok() && result.value().has_value()) << "round " << round;
  }
}

TEST(Control, SurvivesTheWire) {
  for (bool asks : {false, true}) {
    const Bytes bytes = encode_control({.wants_answer = asks,
                                        .goodbye = !asks,
                                        .received_bytes = 77,
                                        .limit_bytes = 1ull << 40,
                                        .sent_bytes = 1ull << 50});
    ASSERT_EQ(bytes.size(), kControlBytes);
    const auto control = decode_control(bytes);
    ASSERT_TRUE(control.is_ok());
    EXPECT_EQ(control.value().wants_answer, asks);
    EXPECT_EQ(control.value().goodbye, !asks);
    EXPECT_EQ(control.value().received_bytes, 77u);
    EXPECT_EQ(control.value().limit_bytes, 1ull << 40);
    EXPECT_EQ(control.value().sent_bytes, 1ull << 50);
  }
}

TEST(Control, WrongLengthTypeVersionAndReservedBytesAreRefused) {
  Bytes bytes = encode_control({});
  bytes[7] = std::byte{1};
  EXPECT_EQ(decode_control(bytes).status().code(), Code::kCorrupt);
  bytes[7] = std::byte{0};
  EXPECT_EQ(decode_control(ByteSpan(bytes).first(kControlBytes - 1)).status().code(),
            Code::kCorrupt);
  EXPECT_EQ(decode_control({}).status().code(), Code::kCorrupt);
  bytes[2] = std::byte{kWireVersion + 1};
  EXPECT_EQ(decode_control(bytes).status().code(), Code::kRefused);
  bytes[0] = std::byte{1};
  EXPECT_EQ(decode_control(bytes).status().code(), Code::kCorrupt);
}

}  // namespace
}  // namespace mapl::link
