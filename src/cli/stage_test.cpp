#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>

#include "cli/run_mapl_for_test.h"
#include "link/hello.h"
#include "link/zmq.h"

namespace mapl::cli {
namespace {

// A port that was free a moment ago. (mapl stage takes ports from the recipe, so the test must know
// one.)
int free_port() {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  bind(descriptor, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  close(descriptor);
  return ntohs(address.sin_port);
}

std::string make_key(const train::SmallRun& small, const std::string& name) {
  const std::string line = run_mapl("keygen " + small.folder() + "/" + name).output;
  return line.substr(line.find('"') + 1, 40);
}

struct Machines {
  explicit Machines(const train::SmallRun& small) : small(small) {
    for (const char* name : {"key-0", "key-1", "key-2"}) keys.push_back(make_key(small, name));
    port = free_port();
  }
  // The recipe of both, with the public keys of machines a and b.
  std::string stage(int index, int a, int b, int own, const std::string& more = "") const {
    return "stage " + small.recipe_file() + " --stage " + std::to_string(index) + " --key " +
           small.folder() + "/key-" + std::to_string(own) + " --run " + small.folder() +
           "/machine-" + std::to_string(index) +
           " --set pipeline.stages=2 --set link.kind=zmq --set 'link.stages=[{public_key=\"" +
           keys[a] + "\"},{endpoint=\"tcp://127.0.0.1:" + std::to_string(port) +
           "\",public_key=\"" + keys[b] + "\"}]' " + more;
  }
  const train::SmallRun& small;
  std::vector<std::string> keys;
  int port;
};

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

TEST(Stage, ANeighbourWithAnotherRecipeIsNamedOnBothSides) {
  const train::SmallRun small;
  const Machines machines(small);
  auto last = std::async(std::launch::async, [&] {
    return run_mapl(machines.stage(1, 0, 1, 1, "--set optimizer.muon_lr=0.03"));
  });
  const Ran first = run_mapl(machines.stage(0, 0, 1, 0));
  const Ran second = last.get();
  for (const Ran& ran : {first, second}) {
    EXPECT_EQ(ran.exit_code, 1);
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
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
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
  EXPECT_EQ(first.exit_code, 1) << first.output;
  EXPECT_NE(first.output.find("key"), std::string::npos) << first.output;
  EXPECT_NE(last.get().exit_code, 0);
}

TEST(Stage, APortInUseIsTheUsersMistake) {
  const train::SmallRun small;
  const Machines machines(small);
  const int taken = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(machines.port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
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
