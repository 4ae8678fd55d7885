#include "base/status.h"

#include <gtest/gtest.h>

namespace mapl {
namespace {

TEST(Status, SaysWhereAndWhy) {
  const Status lost(Code::kPeerLost, "stage 2 is gone");
  EXPECT_EQ(lost.in("step 7").to_string(), "step 7: stage 2 is gone [peer lost]");
  EXPECT_EQ(lost.in("step 7").code(), Code::kPeerLost);
}

TEST(Status, OkStaysOkWhenAPlaceIsAdded) {
  EXPECT_TRUE(Status::ok().in("step 7").is_ok());
  EXPECT_EQ(Status::ok().to_string(), "ok");
}

TEST(Result, HoldsAValueOrAReason) {
  const Result<int> good(3);
  EXPECT_TRUE(good.is_ok());
  EXPECT_EQ(good.value(), 3);
  EXPECT_TRUE(good.status().is_ok());
  const Result<int> bad(Status(Code::kTimeout, "late"));
  EXPECT_FALSE(bad.is_ok());
  EXPECT_EQ(bad.status().code(), Code::kTimeout);
}

}  // namespace
}  // namespace mapl
