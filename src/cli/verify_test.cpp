#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Verify, SaysWhatWasComparedWithWhat) {
  const train::SmallRun small;
  const Ran codec = run_mapl("verify " + small.recipe_file() + " --steps 2");
  EXPECT_EQ(codec.exit_code, 0);
  EXPECT_EQ(codec.output.find("equal bit for bit: 4 stages (1f1b, inproc) against one process"), 0u)
      << codec.output;
  const Ran exact = run_mapl("verify " + small.recipe_file() +
                             " --steps 2 --set boundary.method=uncompressed"
                             " --set boundary.activation=f32 --set boundary.gradient=f32");
  EXPECT_NE(exact.output.find("against the unsplit model: 2 steps"), std::string::npos)
      << exact.output;
}

}  // namespace
}  // namespace mapl::cli
