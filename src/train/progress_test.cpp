#include "train/progress.h"

#include <gtest/gtest.h>

namespace mapl::train {
namespace {

TEST(Progress, ALineTellsHowFarHowWellAndHowLong) {
  const std::string line = Progress::line({.step = 100,
                                           .steps = 400,
                                           .loss = 4.12345,
                                           .tokens_per_second = 4012.7,
                                           .bytes_per_token = 138.25,
                                           .seconds = 50});
  for (const char* part : {" 25% ", "━━━━━╌", "step 100/400", "loss 4.1235", "4,012 tokens/s",
                           "138.2 B/token", "2:30 left"}) {
    EXPECT_NE(line.find(part), std::string::npos) << part << " is not in " << line;
  }
}

}  // namespace
}  // namespace mapl::train
