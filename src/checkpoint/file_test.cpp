#include "checkpoint/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <span>
#include <thread>
#include <vector>

#include "base/status.h"
#include "checkpoint/testing.h"

namespace mapl::checkpoint {
namespace {

ByteSpan bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(AtomicFile, AppearsWhenCommitted) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "x");
  file.write(bytes_of("one "));
  file.write(bytes_of("two"));
  EXPECT_EQ(folder.names(), (std::set<std::string>{"x.tmp"}));
  file.commit();
  EXPECT_EQ(folder.names(), (std::set<std::string>{"x"}));
  const Bytes bytes = read_bytes(folder / "x");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "one two");
}

// As strangers who knock at the door do, for as long as each of them is let stand there.
TEST(AtomicFile, WaitsUntilThereIsADescriptorForIt) {
  const TemporaryFolder folder;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 64;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  std::vector<int> taken;
  while (taken.empty() || taken.back() >= 0) taken.push_back(::open("/dev/null", O_RDONLY));
  std::thread strangers([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    for (const int descriptor : taken) ::close(descriptor);
  });
  EXPECT_EQ(list_folder(folder / "none"), std::vector<std::string>());
  EXPECT_NO_THROW(AtomicFile(folder / "x").commit());
  strangers.join();
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(folder.names(), (std::set<std::string>{"x"}));
}

// As two stages do that share a run's folder.
TEST(AtomicFile, SeveralMayWriteOneFileAtOnce) {
  const TemporaryFolder folder;
  AtomicFile first(folder / "x", /*is_contended=*/true);
  AtomicFile second(folder / "x", /*is_contended=*/true);
  first.write(bytes_of("first"));
  second.write(bytes_of("second"));
  second.commit();
  first.commit();
  EXPECT_EQ(folder.names(), (std::set<std::string>{"x"}));
  const Bytes bytes = read_bytes(folder / "x");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), "first");
  struct stat status {};
  ASSERT_EQ(::stat((folder / "x").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST(AtomicFile, LeavesTheOldFileWhenNotCommitted) {
  const TemporaryFolder folder;
  write_bytes(folder / "x", bytes_of("old"));
  AtomicFile(folder / "x").write(bytes_of("new"));
  EXPECT_EQ(folder.names(), (std::set<std::string>{"x"}));
  EXPECT_EQ(read_bytes(folder / "x").size(), 3u);
}

TEST(AtomicFile, SaysWhichFolderIsNotThere) {
  try {
    AtomicFile("/no/such/x");
    FAIL();
  } catch (const RunError& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/x: No such file"), std::string::npos)
        << error.what();
  }
}

// A limit on file sizes fails a write as a full disk does, for any user and on any file system.
TEST(AtomicFile, LeavesNothingWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit = {};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const rlimit limit = {.rlim_cur = 10'000, .rlim_max = old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  std::string message;
  try {
    AtomicFile file(folder / "x");
    file.write(Bytes(100'000));
    file.commit();
  } catch (const RunError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(message.find("cannot write " + (folder / "x")), std::string::npos) << message;
  EXPECT_NE(message.find("make room"), std::string::npos) << message;
  EXPECT_TRUE(folder.names().empty());
}

TEST(MappedFile, ShowsTheBytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "x", bytes_of("abc"));
  const MappedFile file(folder / "x");
  EXPECT_EQ(Bytes(file.bytes().begin(), file.bytes().end()), read_bytes(folder / "x"));
  write_bytes(folder / "empty", {});
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNotAFile) {
  const TemporaryFolder folder;
  EXPECT_THROW(MappedFile(folder / "missing"), UserError);
  EXPECT_THROW(MappedFile{folder.path()}, UserError);
}

TEST(MakeFolder, SaysWhatIsInTheWay) {
  const TemporaryFolder folder;
  make_folder(folder / "a/b");
  make_folder(folder / "a/b");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "a/b"));
  write_bytes(folder / "file", bytes_of("x"));
  EXPECT_THROW(make_folder(folder / "file/b"), RunError);
}

}  // namespace
}  // namespace mapl::checkpoint
