#include "data/apart.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace mapl::data {
namespace {

TEST(Apart, TheExitCodeIsTheWorks) {
  for (const int code : {0, 1, 2}) {
    const Ended ended = run_apart([&] { return code; });
    EXPECT_EQ(ended.exit_code, code);
    EXPECT_EQ(ended.signal, 0);
    EXPECT_FALSE(ended.crashed());
  }
}

TEST(Apart, ACrashEndsOnlyTheChild) {
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGKILL, SIGPROF}) {
    const Ended ended = run_apart([&] {
      std::signal(signal, SIG_DFL);
      return ::raise(signal);
    });
    EXPECT_EQ(ended.signal, signal);
    EXPECT_TRUE(ended.crashed());
    EXPECT_NE(::kill(ended.process, 0), 0);
  }
  EXPECT_TRUE(run_apart([] {
                ::_exit(-1);
                return 0;
              }).crashed());
}

TEST(Apart, HandsSignalsOnToTheChild) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const Ended ended = run_apart([&] {
      std::signal(signal, SIG_DFL);
      ::kill(::getppid(), signal);
      for (;;) ::pause();
      return 0;
    });
    EXPECT_EQ(ended.signal, signal);
    EXPECT_FALSE(ended.crashed());
  }
}

TEST(Apart, TheChildDoesNotOutliveItsParent) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    run_apart([&] {
      [[maybe_unused]] const ssize_t written = ::write(ends[1], "x", 1);
      for (;;) ::pause();
      return 0;
    });
    ::_exit(0);
  }
  ::close(ends[1]);
  char byte = 0;
  ASSERT_EQ(::read(ends[0], &byte, 1), 1);  // the child works
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_EQ(::read(ends[0], &byte, 1), 0);  // waits for the end of all who could write
  ::close(ends[0]);
}

TEST(Apart, EndsLikewise) {
  EXPECT_EXIT(end_likewise({.exit_code = 7, .signal = 0, .process = 0}), testing::ExitedWithCode(7),
              "");
  EXPECT_EXIT(end_likewise({.exit_code = -1, .signal = SIGTERM, .process = 0}),
              testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace mapl::data
