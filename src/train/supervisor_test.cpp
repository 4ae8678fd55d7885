#include "train/supervisor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "train/small_run_for_test.h"

namespace mapl::train {
namespace {

ChildProcess shell(const std::string& script) {
  return {.arguments = {"/bin/sh", "-c", script}, .environment = {}, .name = "child"};
}

int supervised(const std::vector<ChildProcess>& children, std::stop_token stop = {},
               double grace_seconds = 6) {
  return supervise(children, stop, grace_seconds).exit_code;
}

TEST(Supervisor, TellsHowEachEnded) {
  const auto ends = supervise({shell("true"), shell("kill -9 $$")}, {}).ends;
  EXPECT_EQ(ends, (std::vector<std::string>{"exit code 0", "signal 9 (Killed)"}));
}

TEST(Supervisor, AllWellIsZero) { EXPECT_EQ(supervised({shell("true"), shell("exit 0")}, {}), 0); }

TEST(Supervisor, GivesTheExitCodeOfTheFirstFailure) {
  EXPECT_EQ(supervised({shell("true"), shell("exit 2")}, {}), 2);
  EXPECT_EQ(supervised({shell("kill -9 $$")}, {}), 128 + 9);
}

TEST(Supervisor, TheUsersMistakeIsTheCauseWhoeverFailsFirst) {
  const SmallRun place;
  const std::string folder = place.folder();
  const std::string fifo = folder + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  // The reader sees the end of the file when the writer has ended, with the exit code 1.
  EXPECT_EQ(
      supervised({shell("exec 3> " + fifo + "; exit 1"), shell("cat " + fifo + "; exit 2")}, {}),
      2);
}

TEST(Supervisor, TheOthersDoNotOutliveAFailure) {
  const Deadline late = in_seconds(60);
  EXPECT_EQ(supervised({shell("exit 3"), shell("exec tail -f /dev/null")}, {}, 0.05), 3);
  EXPECT_LT(Clock::now(), late);
}

TEST(Supervisor, PassesOnTheEnvironment) {
  ChildProcess child = shell("test \"$MAPL_TEST\" = yes");
  child.environment = {{"MAPL_TEST", "yes"}};
  EXPECT_EQ(supervised({child}, {}), 0);
}

TEST(Supervisor, AWishToStopIsOneInterrupt) {
  const SmallRun place;
  const std::string folder = place.folder();
  const std::string ready = folder + "/ready";
  std::stop_source stop;
  const std::jthread user([&](std::stop_token ended) {
    while (!std::filesystem::exists(ready) && !ended.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    stop.request_stop();
  });
  // The child reports the interrupt as its exit code; it waits in the background so that sh can
  // trap.
  EXPECT_EQ(supervised({shell("trap 'kill $!; exit 42' INT; tail -f /dev/null & echo x > " + ready +
                              "; wait")},
                       stop.get_token()),
            42);
}

TEST(Supervisor, AChildThatASignalEndsIsStartedAgain) {
  const SmallRun place;
  const std::string folder = place.folder();
  // Each start adds a line; the third ends well, if it is not told otherwise.
  ChildProcess child =
      shell("echo x >> " + folder + "/starts; test -n \"$0\" -a \"$0\" != first -a $(wc -l < " +
            folder + "/starts) -ge 3 || kill -9 $$");
  child.restart = true;
  child.first_arguments = {"first"};
  EXPECT_EQ(supervised({child}, {}), 0);
  child.arguments.back() = "kill -9 $$";
  EXPECT_EQ(supervised({child}, {}), 128 + 9);  // but not for ever
  child.arguments.back() = "exit 1";            // which it has given a reason for
  EXPECT_EQ(supervised({child}, {}), 1);
}

// In its last moments, say: it may have something left to do, and the run has not failed.
TEST(Supervisor, AChildThatASignalEndsWhenOthersAreDoneIsStartedAgainToo) {
  const SmallRun place;
  const std::string folder = place.folder();
  const std::string fifo = folder + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  // The first life of the reader ends when the writer has ended and been waited for.
  ChildProcess reader = shell("test \"$0\" != first || { read writer < " + fifo +
                              "; while kill -0 $writer; do sleep 0.01; done; kill -9 $$; }");
  reader.restart = true;
  reader.first_arguments = {"first"};
  EXPECT_EQ(supervised({shell("echo $$ > " + fifo), reader}), 0);
}

TEST(Supervisor, AProgramThatIsNotThereFails) {
  EXPECT_EQ(supervised({{.arguments = {"/nowhere/mapl"}, .environment = {}, .name = "x"}}, {}),
            127);
}

}  // namespace
}  // namespace mapl::train
