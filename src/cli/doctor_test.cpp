#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "cli/machines_for_test.h"

namespace mapl::cli {
namespace {

TEST(Doctor, TwoMachinesThatAreWellSaySo) {
  const train::SmallRun small;
  const Machines machines(small);
  const auto doctor = [&](int index) {
    return run_mapl(machines.command("doctor", index, 0, 1, index, "--seconds 0.2"));
  };
  auto last = std::async(std::launch::async, [&] { return doctor(1); });
  const Ran first = doctor(0);
  const Ran second = last.get();
  for (const Ran& ran : {first, second}) {
    EXPECT_EQ(ran.exit_code, 0) << ran.output;
    for (const char* words : {"has the right key, the same version and recipe", "Mbit/s there",
                              "round trip", "its clock is", "GiB free", "BLAS"}) {
      EXPECT_NE(ran.output.find(words), std::string::npos) << words << ": " << ran.output;
    }
    EXPECT_EQ(ran.output.find("PROBLEM"), std::string::npos) << ran.output;
  }
  EXPECT_NE(second.output.find("listening at tcp://127.0.0.1:"), std::string::npos)
      << second.output;
}

TEST(Doctor, AdvisesAgainstSlowStartsWhereTheLineIsLong) {
  const train::SmallRun small;
  const Machines machines(small);
  std::ifstream setting("/proc/sys/net/ipv4/tcp_slow_start_after_idle");
  const bool slow = setting.get() == '1';
  for (const int latency_ms : {0, 10}) {
    const auto doctor = [&](int index) {
      return run_mapl(
          machines.command("doctor", index, 0, 1, index,
                           fmt::format("--seconds 0.2 --set link.latency_ms={}", latency_ms)));
    };
    auto last = std::async(std::launch::async, [&] { return doctor(1); });
    const Ran first = doctor(0);
    const Ran second = last.get();
    for (const Ran& ran : {first, second}) {
      EXPECT_EQ(ran.exit_code, 0) << ran.output;
      EXPECT_EQ(ran.output.find("on purpose") != std::string::npos, latency_ms > 0) << ran.output;
      EXPECT_EQ(ran.output.find("sysctl -w") != std::string::npos, slow && latency_ms > 0)
          << ran.output;
    }
  }
}

TEST(Doctor, ANeighbourWithAnotherKeyIsAProblemThatIsNamed) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] {
    return run_mapl(machines.command("doctor", 1, 2, 1, 1, "--set link.connect_seconds=5"));
  });
  // Stage 1 names another key than stage 0 has.
  const Ran first =
      run_mapl(machines.command("doctor", 0, 0, 1, 0, "--set link.connect_seconds=5"));
  EXPECT_EQ(first.exit_code, 1) << first.output;
  EXPECT_NE(first.output.find("PROBLEM"), std::string::npos) << first.output;
  EXPECT_NE(first.output.find("key"), std::string::npos) << first.output;
  const Ran second = last.get();
  EXPECT_EQ(second.exit_code, 1) << second.output;
}

TEST(Doctor, ANeighbourThatDoesNotComeIsAProblem) {
  const train::SmallRun small;
  const Machines machines(small);
  const Ran ran =
      run_mapl(machines.command("doctor", 0, 0, 1, 0, "--set link.connect_seconds=0.5"));
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_NE(ran.output.find("is doctor running there"), std::string::npos) << ran.output;
}

TEST(Doctor, WithoutOtherMachinesThereIsNothingToReach) {
  const train::SmallRun small;
  const Ran ran = run_mapl("doctor " + small.recipe_file() + " --stage 0");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("no link.stages"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mapl::cli
