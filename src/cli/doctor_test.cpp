#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "cli/machines_for_test.h"
#include "link/curve_keys.h"
#include "link/hello.h"
#include "link/probe.h"
#include "link/zmq.h"
#include "train/version.h"

namespace mapl::cli {
namespace {

// Doctor of stage 1, played by the test: `machines` is told the port that it listens at.
class PlayedDoctor {
 public:
  struct Options {
    std::string version = train::kVersion;
    std::function<int64_t()> clock = link::wall_ns;
    uint32_t stage = 1, num_stages = 2;
    std::vector<std::string> overrides = {"pipeline.stages=2", "link.kind=zmq"};
  };
  PlayedDoctor(Machines& machines, const Options& options)
      : link_(listen(context_, machines)),
        hash_(train::hash(machines.small.recipe(options.overrides))),
        thread_([this, options] { play(options); }) {
    machines.port = link::port_of(link_->bound_endpoint());
  }
  ~PlayedDoctor() { link_->close(); }

 private:
  static std::unique_ptr<link::ZmqLink> listen(link::ZmqContext& context,
                                               const Machines& machines) {
    link::ZmqOptions options;
    options.link = {.peer = "doctor",
                    .max_payload_bytes = link::kProbePayloadBytes,
                    .max_queued_bytes = link::kProbeQueuedBytes};
    options.endpoint = "tcp://127.0.0.1:*";
    options.bind = true;
    options.own = link::read_secret_key(machines.small.folder() + "/key-1");
    options.peer_public_key = machines.keys[0];
    return context.start(options);
  }

  void play(const Options& options) {
    link::Hello doctor = {.mapl_version = train::kVersion,
                          .recipe_hash = hash_,
                          .stage = options.stage - 1,
                          .num_stages = options.num_stages};
    link::Hello mine = doctor;
    mine.mapl_version = options.version;
    mine.stage = options.stage;
    if (!link_->wait_connected(in_seconds(60)).is_ok()) return;
    if (!link::greet(*link_, mine, doctor, in_seconds(60)).is_ok()) return;
    (void)link::probe(*link_, {.seconds = 0.1, .clock = options.clock});
    (void)link_->flush(in_seconds(60));
  }

  link::ZmqContext context_;
  const std::unique_ptr<link::ZmqLink> link_;
  const uint64_t hash_;
  std::jthread thread_;
};

bool tells(const Ran& ran, const std::string& words) {
  return ran.output.find(words) != std::string::npos;
}

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
    for (const char* words :
         {"has the right key, the same version and recipe", "Mbit/s there", "round trip",
          "ms there", "if the clocks are equal", "its clock is", "GiB free", "BLAS"}) {
      EXPECT_NE(ran.output.find(words), std::string::npos) << words << ": " << ran.output;
    }
    EXPECT_EQ(ran.output.find("PROBLEM"), std::string::npos) << ran.output;
  }
  const std::string endpoint = "tcp://127.0.0.1:" + std::to_string(machines.port);
  EXPECT_TRUE(tells(second, "listening at " + endpoint + " for stage 0, advertised as " + endpoint))
      << second.output;
  EXPECT_TRUE(tells(first, "connecting to stage 1 at " + endpoint)) << first.output;
}

// Where others reach it, by a router's grace, is no address of this machine.
TEST(Doctor, WhatIsBoundIsToldBesideWhatIsAdvertised) {
  const train::SmallRun small;
  const Machines machines(small);
  const std::string port = std::to_string(machines.port);
  const std::string stages = "'link.stages=[{public_key=\"" + machines.keys[0] +
                             "\"},{endpoint=\"tcp://203.0.113.7:" + port + "\",public_key=\"" +
                             machines.keys[1] + "\"}]'";
  const Ran ran = run_mapl(
      machines.command("doctor", 1, 0, 1, 1, "--set link.connect_seconds=0.1 --set " + stages));
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(tells(ran, "listening at tcp://0.0.0.0:" + port +
                             " for stage 0, advertised as tcp://203.0.113.7:" + port))
      << ran.output;
  EXPECT_TRUE(tells(ran, "stage 0 is not reachable: it has not connected to")) << ran.output;
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
  EXPECT_TRUE(tells(ran, "stage 1 is not reachable at tcp://127.0.0.1:")) << ran.output;
  EXPECT_TRUE(tells(ran, "connection refused")) << ran.output;
  EXPECT_TRUE(tells(ran, "is doctor running there")) << ran.output;
}

TEST(Doctor, OfAMiddleStageOneMissingNeighbourHidesNothingOfTheOther) {
  const train::SmallRun small;
  Machines machines(small);
  const int free = machines.port;
  // Its own key is key-0, that of stage 0 key-2: who plays stage 2 has key-1.
  const PlayedDoctor last(machines,
                          {.stage = 2, .num_stages = 3, .overrides = {"pipeline.stages=3"}});
  const std::string stages = fmt::format(
      "'link.stages=[{{public_key=\"{}\"}},{{endpoint=\"tcp://127.0.0.1:{}\",public_key=\"{}\"}},"
      "{{endpoint=\"tcp://127.0.0.1:{}\",public_key=\"{}\"}}]'",
      machines.keys[2], free, machines.keys[0], machines.port, machines.keys[1]);
  const Ran ran = run_mapl(machines.command("doctor", 1, 0, 1, 0,
                                            "--seconds 0.1 --set link.connect_seconds=5 --set "
                                            "pipeline.stages=3 --set " +
                                                stages));
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_TRUE(tells(ran, "PROBLEM  stage 0 is not reachable")) << ran.output;
  EXPECT_TRUE(tells(ran, "ok       stage 2 is reachable, has the right key")) << ran.output;
  EXPECT_TRUE(tells(ran, "ok       stage 2: round trip")) << ran.output;
}

TEST(Doctor, AnotherVersionIsAProblem) {
  const train::SmallRun small;
  Machines machines(small);
  const PlayedDoctor other(machines, {.version = "9.8.7"});
  const Ran ran = run_mapl(machines.command("doctor", 0, 0, 1, 0));
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_TRUE(tells(ran, "PROBLEM  stage 1 is reachable, and: the peer runs mapl 9.8.7"))
      << ran.output;
  EXPECT_TRUE(tells(ran, "install the same version")) << ran.output;
}

TEST(Doctor, AnotherRecipeIsAProblem) {
  const train::SmallRun small;
  Machines machines(small);
  const PlayedDoctor other(machines, {});
  const Ran ran =
      run_mapl(machines.command("doctor", 0, 0, 1, 0, "--set optimizer.muon_lr=0.03125"));
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_TRUE(tells(ran, "PROBLEM  stage 1 is reachable, and: the peer's recipe has hash"))
      << ran.output;
}

TEST(Doctor, AClockThatIsWrongIsNoProblemAndIsTold) {
  const train::SmallRun small;
  Machines machines(small);
  const auto fast = [] { return link::wall_ns() + int64_t{3'600'000'000'000}; };
  const PlayedDoctor other(machines, {.clock = fast});
  const Ran ran = run_mapl(machines.command("doctor", 0, 0, 1, 0, "--seconds 0.1"));
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_TRUE(tells(ran, "advice   stage 1: its clock is 36000")) << ran.output;
  EXPECT_TRUE(tells(ran, "one way cannot be told")) << ran.output;
  EXPECT_TRUE(tells(ran, "(NTP)")) << ran.output;
}

TEST(Doctor, ADiskTooSmallForTheCheckpointsIsAProblem) {
  const train::SmallRun small;
  const Machines machines(small);
  const Ran ran = run_mapl(
      machines.command("doctor", 0, 0, 1, 0,
                       "--set link.connect_seconds=0.1 --set checkpoint.keep_latest_k=1000000000"));
  EXPECT_TRUE(tells(ran, "GiB free in " + small.folder() + "/machine-0/checkpoints, where"))
      << ran.output;
  EXPECT_TRUE(tells(ran, "make room")) << ran.output;
}

TEST(Doctor, TheReferenceBlasIsAProblem) {
  const std::string folder = "/usr/lib/" MAPL_MULTIARCH "/blas";
  if (!std::filesystem::exists(folder + "/libblas.so.3")) {
    GTEST_SKIP() << "no reference BLAS in " << folder;
  }
  const train::SmallRun small;
  const Machines machines(small);
  const Ran ran = run_mapl(machines.command("doctor", 0, 0, 1, 0, "--set link.connect_seconds=0.1"),
                           "export LD_LIBRARY_PATH=" + folder + "; ");
  EXPECT_TRUE(tells(ran, "PROBLEM  computing with the reference BLAS")) << ran.output;
}

TEST(Doctor, WithoutOtherMachinesThereIsNothingToReach) {
  const train::SmallRun small;
  const Ran ran = run_mapl("doctor " + small.recipe_file() + " --stage 0");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("no link.stages"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mapl::cli
