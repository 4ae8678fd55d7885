// The rest of its contract is in link_contract_test.cpp.
#include "link/inproc.h"

#include <gtest/gtest.h>

namespace mapl::link {
namespace {

TEST(Inproc, PayloadIsHandedOverWithoutACopy) {
  auto [a, b] = make_inproc_pair({.max_payload_bytes = 100000}, {.max_payload_bytes = 100000});
  Frame frame{.header = {.kind = Kind::kBasis}, .payload = Bytes(100000)};
  const std::byte* data = frame.payload.data();
  ASSERT_TRUE(a->send(std::move(frame), in_seconds(60)).is_ok());
  auto received = b->recv(in_seconds(60));
  ASSERT_TRUE(received.is_ok());
  EXPECT_EQ(received.value().payload.data(), data);
}

TEST(Inproc, ErrorsNameThePeerAsThisEndCallsIt) {
  auto [a, b] = make_inproc_pair({.peer = "stage 1"}, {.peer = "stage 0"});
  EXPECT_NE(b->recv(in_seconds(0)).status().message().find("stage 0"), std::string::npos);
  b.reset();
  EXPECT_NE(a->recv(in_seconds(60)).status().message().find("stage 1"), std::string::npos);
}

TEST(Inproc, FlushAfterThePeerLeftWithFramesUnreadSaysSo) {
  auto [a, b] = make_inproc_pair({}, {});
  ASSERT_TRUE(a->send({.header = {.kind = Kind::kVote}}, in_seconds(60)).is_ok());
  EXPECT_TRUE(a->flush(in_seconds(60)).is_ok());
  b.reset();
  EXPECT_EQ(a->flush(in_seconds(60)).code(), Code::kPeerLost);
}

}  // namespace
}  // namespace mapl::link
