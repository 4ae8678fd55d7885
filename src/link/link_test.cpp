#include "link/link.h"

#include <gtest/gtest.h>

#include <functional>

#include "link/inproc.h"

namespace mapl::link {
namespace {

constexpr double kPatience = 60.0;

Frame gradient() {
  return {.header = {.kind = Kind::kGradient, .packing = 2, .step = 30, .micro_batch = 4},
          .payload = Bytes(512)};
}

constexpr Expected kExpected{
    .kind = Kind::kGradient, .step = 30, .micro_batch = 4, .payload_bytes = 512, .packing = 2};

Result<Frame> pass(Frame frame, const Expected& expected) {
  auto [a, b] = make_inproc_pair({}, {});
  EXPECT_TRUE(a->send(std::move(frame), in_seconds(kPatience)).is_ok());
  return recv_expected(*b, expected, in_seconds(kPatience));
}

TEST(Expected, TheRightFramePasses) { EXPECT_TRUE(pass(gradient(), kExpected).is_ok()); }

TEST(Expected, AnythingElseIsRefusedWithBothNamed) {
  const std::function<void(Frame&)> changes[] = {
      [](Frame& frame) { frame.header.kind = Kind::kActivation; },
      [](Frame& frame) { frame.header.step = 31; },
      [](Frame& frame) { frame.header.micro_batch = 5; },
      [](Frame& frame) { frame.header.packing = 1; },
      [](Frame& frame) { frame.payload.resize(513); },
  };
  const char* words[] = {"received activation", "step 31", "micro-batch 5", "packing 1",
                         "513 bytes"};
  for (size_t i = 0; i < std::size(changes); ++i) {
    Frame frame = gradient();
    changes[i](frame);
    const Status status = pass(frame, kExpected).status();
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(
        status.message().find("expected gradient of step 30, micro-batch 4 (512 bytes, packing 2)"),
        std::string::npos)
        << status.message();
    EXPECT_NE(status.message().find(words[i]), std::string::npos) << status.message();
  }
}

TEST(Expected, AbortGivesThePeersWords) {
  Frame frame{.header = {.kind = Kind::kAbort}};
  for (char c : std::string("disk\tfull\n")) frame.payload.push_back(static_cast<std::byte>(c));
  const Status status = pass(frame, kExpected).status();
  EXPECT_EQ(status.code(), Code::kAborted);
  EXPECT_EQ(status.message(), "disk?full\n");
}

TEST(Expected, SilenceNamesWhatWasWaitedFor) {
  auto [a, b] = make_inproc_pair({}, {.peer = "stage 7"});
  const Status status = recv_expected(*b, kExpected, in_seconds(0)).status();
  EXPECT_EQ(status.code(), Code::kTimeout);
  EXPECT_NE(status.message().find("waiting for gradient of step 30"), std::string::npos);
  EXPECT_NE(status.message().find("stage 7"), std::string::npos) << status.message();
}

TEST(Abort, LongTextIsCut) {
  const Frame abort{.header = {.kind = Kind::kAbort}, .payload = Bytes(10000, std::byte{'x'})};
  EXPECT_EQ(abort_status(abort).message().size(), static_cast<size_t>(kMaxAbortBytes));
}

TEST(Abort, OneThatIsFinalSaysSo) {
  EXPECT_EQ(abort_status({.header = {.kind = Kind::kAbort, .packing = kFinalAbort}}).code(),
            Code::kEnded);
}

TEST(Expected, FewerBytesAreGoodWhereTheSizeIsALimit) {
  Expected expected{.kind = Kind::kOffer, .payload_bytes = 16, .or_fewer_bytes = true};
  const auto passes = [&](size_t bytes) {
    return pass({.header = {.kind = Kind::kOffer}, .payload = Bytes(bytes)}, expected).is_ok();
  };
  EXPECT_TRUE(passes(16));
  EXPECT_TRUE(passes(0));
  EXPECT_FALSE(passes(17));
  expected.or_fewer_bytes = false;
  EXPECT_FALSE(passes(8));
}

}  // namespace
}  // namespace mapl::link
