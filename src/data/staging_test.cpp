#include "data/staging.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/status.h"
#include "data/scratch.h"

namespace mapl::data {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

void put(const std::filesystem::path& path) { std::ofstream(path) << "x"; }

TEST(Staging, AppearsOnlyWhenCommitted) {
  const Scratch scratch;
  {
    Staging staging(scratch.path("a/out/"));
    put(staging.folder() / "file");
    EXPECT_FALSE(std::filesystem::exists(scratch.path("a/out")));
    staging.commit();
  }
  EXPECT_EQ(scratch.read("a/out/file"), "x");
  EXPECT_THAT(scratch.names(), testing::ElementsAre("a"));
}

TEST(Staging, LeavesNothingWithoutACommit) {
  const Scratch scratch;
  {
    Staging staging(scratch.path("out"));
    put(staging.folder() / "file");
    EXPECT_THAT(scratch.names(), testing::SizeIs(1));
  }
  EXPECT_THAT(scratch.names(), IsEmpty());
}

TEST(Staging, WhatACrashLeftCanBeRemoved) {
  const Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    Staging staging(scratch.path("out"));
    put(staging.folder() / "file");
    ::_exit(1);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_THAT(scratch.names(), testing::SizeIs(1));
  Staging::remove_left_by(child, scratch.path("out/"));
  EXPECT_THAT(scratch.names(), IsEmpty());
}

TEST(Staging, TakesAnEmptyFolderAndNoOther) {
  const Scratch scratch;
  std::filesystem::create_directory(scratch.path("out"));
  Staging(scratch.path("out")).commit();
  scratch.write("out/mine", "precious");
  EXPECT_THAT(message_of<UserError>([&] { Staging staging(scratch.path("out")); }),
              HasSubstr(scratch.path("out")));
  EXPECT_EQ(scratch.read("out/mine"), "precious");
  scratch.write("file", "");
  EXPECT_THAT(message_of<UserError>([&] { Staging staging(scratch.path("file")); }),
              HasSubstr("exists"));
}

TEST(Staging, SaysWhyNoFolderCanBeMade) {
  const Scratch scratch;
  scratch.write("file", "");
  EXPECT_THAT(message_of<RunError>([&] { Staging staging(scratch.path("file/out")); }),
              HasSubstr(scratch.path("file/out")));
}

TEST(Staging, LeavesNothingWhenASignalEndsTheProcess) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const Scratch scratch;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Staging staging(scratch.path("out"));
      put(staging.folder() / "file");
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_THAT(scratch.names(), testing::SizeIs(1));
    ::kill(child, signal);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    EXPECT_THAT(scratch.names(), IsEmpty());
    ::close(ready[0]);
    ::close(ready[1]);
  }
}

}  // namespace
}  // namespace mapl::data
