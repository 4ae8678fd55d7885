#include <gtest/gtest.h>

#include <future>

#include "cli/machines_for_test.h"
#include "link/hello.h"
#include "link/zmq.h"

namespace mapl::cli {
namespace {

TEST(Stage, TwoMachinesTrainOverEncryptedTcp) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] { return run_mapl(machines.stage(1, 0, 1, 1)); });
  const Ran first = run_mapl(machines.stage(0, 0, 1, 0));
  EXPECT_EQ(first.exit_code, 0) << first.output;
  const Ran second = last.get();
  EXPECT_EQ(second.exit_code, 0) << second.output;
  EXPECT_TRUE(std::filesystem::exists(small.folder() + "/machine-0/summary.json"));
  EXPECT_TRUE(
      std::filesystem::exists(small.folder() + "/machine-1/checkpoints/step-6/stage-1.json"));
}

TEST(Stage, ARunGoesOnWithMoreStepsWhenItIsToldTo) {
  const train::SmallRun small;
  const Machines machines(small);
  const auto both = [&](const std::string& more) {
    auto last =
        std::async(std::launch::async, [&] { return run_mapl(machines.stage(1, 0, 1, 1, more)); });
    Ran first = run_mapl(machines.stage(0, 0, 1, 0, more));
    const Ran second = last.get();
    EXPECT_EQ(first.exit_code, second.exit_code) << first.output << second.output;
    return first;
  };
  ASSERT_EQ(both("").exit_code, 0);
  const Ran refused = both("--set training.steps=8");
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_NE(refused.output.find("--resume"), std::string::npos) << refused.output;
  const Ran resumed = both("--set training.steps=8 --resume");
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(train::json_lines(small.folder() + "/machine-0/metrics.jsonl").size(), 8u);
}

// Killed between its last save and its leave, say: the others have gone.
TEST(Stage, StartedOnceMoreAtTheEndOfARunItLeavesInPeace) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] { return run_mapl(machines.stage(1, 0, 1, 1)); });
  ASSERT_EQ(run_mapl(machines.stage(0, 0, 1, 0)).exit_code, 0);
  ASSERT_EQ(last.get().exit_code, 0);
  const Ran again = run_mapl(machines.stage(1, 0, 1, 1, "--set link.connect_seconds=1"));
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_NE(again.output.find("had come to its end"), std::string::npos) << again.output;
}

// What its user can mend ends a stage too: with a page, as any end does that was not meant.
TEST(Stage, AnErrorOnTheWayLeavesAPage) {
  const train::SmallRun small;
  const Machines machines(small);
  const std::string more = "--set model.vocab_size=90";  // there are ids up to 96
  auto last =
      std::async(std::launch::async, [&] { return run_mapl(machines.stage(1, 0, 1, 1, more)); });
  const Ran first = run_mapl(machines.stage(0, 0, 1, 0, more));
  EXPECT_EQ(first.exit_code, 2) << first.output;
  EXPECT_EQ(last.get().exit_code, 3);
  EXPECT_TRUE(std::filesystem::exists(small.folder() + "/machine-0/post_mortem.md"));
}

TEST(Stage, ANeighbourWithAnotherRecipeIsNamedOnBothSides) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] {
    return run_mapl(machines.stage(1, 0, 1, 1, "--set optimizer.muon_lr=0.03"));
  });
  const Ran first = run_mapl(machines.stage(0, 0, 1, 0));
  const Ran second = last.get();
  for (const Ran& ran : {first, second}) {
    EXPECT_EQ(ran.exit_code, 3);
    EXPECT_NE(ran.output.find("recipe"), std::string::npos) << ran.output;
  }
}

// The test itself is stage 0, of a version to come.
TEST(Stage, ANeighbourOfAnotherVersionIsNamedWithWhatToDo) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] { return run_mapl(machines.stage(1, 0, 1, 1)); });
  link::ZmqContext context;
  link::ZmqOptions options;
  options.endpoint = "tcp://127.0.0.1:" + std::to_string(machines.port);
  options.own = link::read_secret_key(small.folder() + "/key-0");
  options.peer_public_key = machines.keys[1];
  auto link = context.open(options);
  ASSERT_TRUE(link.is_ok()) << link.status().message();
  const link::Hello future{.mapl_version = "99.1.0", .recipe_hash = 1, .stage = 0, .num_stages = 2};
  link::Hello expected = future;
  expected.stage = 1;
  const Status greeted = link::greet(*link.value(), future, expected, in_seconds(30));
  EXPECT_NE(greeted.message().find("install the same version"), std::string::npos)
      << greeted.message();
  const Ran ran = last.get();
  EXPECT_EQ(ran.exit_code, 3) << ran.output;
  EXPECT_NE(ran.output.find("99.1.0"), std::string::npos) << ran.output;
  EXPECT_NE(ran.output.find("install the same version"), std::string::npos) << ran.output;
}

// Stage 1 holds the key of machine 2 and says so in its own recipe; stage 0 expects machine 1.
TEST(Stage, ANeighbourWithAnotherKeyIsRefused) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] {
    return run_mapl(machines.stage(1, 0, 2, 2, "--set link.connect_seconds=5"));
  });
  const Ran first = run_mapl(machines.stage(0, 0, 1, 0, "--set link.connect_seconds=5"));
  // It is hung up on without a word, and waits for the right one: starting again may help.
  EXPECT_EQ(first.exit_code, 1) << first.output;
  EXPECT_NE(first.output.find("key"), std::string::npos) << first.output;
  EXPECT_NE(last.get().exit_code, 0);
}

TEST(Stage, APortInUseIsTheUsersMistake) {
  const train::SmallRun small;
  const Machines machines(small);
  const int taken = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = link::loopback(machines.port);
  ASSERT_EQ(bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(taken, 1), 0);
  const Ran ran = run_mapl(machines.stage(1, 0, 1, 1));
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find(std::to_string(machines.port)), std::string::npos) << ran.output;
  close(taken);
}

TEST(Stage, WithoutEndpointsItSaysWhatToUseInstead) {
  const train::SmallRun small;
  const Ran ran = run_mapl("stage " + small.recipe_file() + " --stage 1");
  EXPECT_EQ(ran.exit_code, 2);
  EXPECT_NE(ran.output.find("mapl train"), std::string::npos) << ran.output;
  EXPECT_EQ(run_mapl("stage " + small.recipe_file() + " --stage 4").exit_code, 2);
}

}  // namespace
}  // namespace mapl::cli
