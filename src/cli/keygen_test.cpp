#include <gtest/gtest.h>

#include "cli/run_mapl_for_test.h"

namespace mapl::cli {
namespace {

TEST(Keygen, WritesTheSecretForItsOwnerAndPrintsThePublicKey) {
  const train::SmallRun small;
  const std::string path = small.folder() + "/key";
  const Ran ran = run_mapl("keygen " + path);
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(ran.output.find("public_key = \""), 0u);
  EXPECT_EQ(ran.output.size(), 14u + 40u + 2u);
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(run_mapl("keygen " + path).exit_code, 2);  // never overwritten
}

}  // namespace
}  // namespace mapl::cli
