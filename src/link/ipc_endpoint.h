// For tests: an ipc endpoint in a folder of its own, which goes with it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <string>

namespace mapl::link {

class IpcEndpoint {
 public:
  IpcEndpoint() { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
  ~IpcEndpoint() { std::filesystem::remove_all(folder_.data()); }
  IpcEndpoint(const IpcEndpoint&) = delete;
  IpcEndpoint& operator=(const IpcEndpoint&) = delete;

  std::string name() const { return std::string("ipc://") + folder_.data() + "/link"; }

 private:
  std::array<char, 32> folder_{"/tmp/mapl_link_test_XXXXXX"};
};

}  // namespace mapl::link
