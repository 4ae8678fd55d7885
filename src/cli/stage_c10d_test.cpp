// mapl stage as a launcher starts it: a process per stage, found by the launcher's variables.
#include <gtest/gtest.h>

#include <future>

#include "cli/run_mapl_for_test.h"
#include "link/c10d_for_test.h"

namespace mapl::cli {
namespace {

std::string stage(const train::SmallRun& small, const std::string& run,
                  const std::string& more = "") {
  return "stage " + small.recipe_file() + " --set link.kind=c10d --run " + small.folder() + "/" +
         run + " " + more;
}

std::string torchrun(int rank, int world_size, int port) {
  return "RANK=" + std::to_string(rank) + " WORLD_SIZE=" + std::to_string(world_size) +
         " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) + " ";
}

void expect_same_training(const train::SmallRun& small, const std::string& a,
                          const std::string& b) {
  const auto lines_a = train::json_lines(small.folder() + "/" + a + "/metrics.jsonl");
  const auto lines_b = train::json_lines(small.folder() + "/" + b + "/metrics.jsonl");
  ASSERT_EQ(lines_a.size(), 6u);
  ASSERT_EQ(lines_b.size(), 6u);
  for (size_t i = 0; i < lines_a.size(); ++i) {
    for (const char* key : {"loss", "grad_norm", "activation_bytes", "gradient_bytes"}) {
      EXPECT_EQ(lines_a[i].at(key), lines_b[i].at(key)) << key << " of step " << i;
    }
  }
}

class StageC10d : public testing::Test {
 protected:
  void SetUp() override {
    if (!link::has_c10d()) GTEST_SKIP() << "this LibTorch has none";
  }
  const train::SmallRun small_;
};

// The test keeps the store, as torchrun's agent does.
TEST_F(StageC10d, FourProcessesTrainAsOverZmqBitForBit) {
  const auto agent = link::start_on_loopback(0, 0);
  std::vector<std::future<Ran>> stages;
  for (int k = 0; k < 4; ++k) {
    stages.push_back(std::async(std::launch::async, [&, k] {
      return run_mapl(stage(small_, "c10d"),
                      "TORCHELASTIC_USE_AGENT_STORE=True " + torchrun(k, 4, agent->port()));
    }));
  }
  for (auto& ran : stages) {
    const Ran ended = ran.get();
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
  }
  const Ran zmq = run_mapl("train " + small_.recipe_file() + " --set link.kind=zmq --run " +
                           small_.folder() + "/zmq");
  ASSERT_EQ(zmq.exit_code, 0) << zmq.output;
  expect_same_training(small_, "c10d", "zmq");
}

bool works(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
}

// Of this machine, free a moment ago. (A launcher takes it from outside, so the test must know
// one.)
std::string free_port() { return std::to_string(link::start_on_loopback(0, 0)->port()); }

TEST_F(StageC10d, MpirunStartsThemOnOneMachine) {
  if (!works("mpirun --version")) GTEST_SKIP() << "no mpirun here";
  const Ran ran = run_mapl(stage(small_, "mpi"),
                           "MASTER_PORT=" + free_port() +
                               " mpirun --allow-run-as-root --oversubscribe --bind-to none --mca "
                               "oob_tcp_if_include lo -n 4 ");
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_TRUE(std::filesystem::exists(small_.folder() + "/mpi/summary.json")) << ran.output;
}

TEST_F(StageC10d, TorchrunStartsThem) {
  const std::string torchrun =
      "torchrun --no_python --master_addr 127.0.0.1 --master_port " + free_port();
  // Debian 12's own, for one, does not.
  if (!works(torchrun + " --nproc_per_node 1 true")) GTEST_SKIP() << "no torchrun that works here";
  const Ran ran = run_mapl(stage(small_, "torchrun"), torchrun + " --nproc_per_node 4 ");
  EXPECT_EQ(ran.exit_code, 0) << ran.output;
  EXPECT_TRUE(std::filesystem::exists(small_.folder() + "/torchrun/summary.json")) << ran.output;
}

// The test is stage 1, which leaves as soon as they have met.
TEST_F(StageC10d, AStageThatIsGoneEndsItsNeighbour) {
  const auto agent = link::start_on_loopback(0, 0);
  auto first = std::async(std::launch::async, [&] {
    return run_mapl(stage(small_, "run", "--set pipeline.stages=2"),
                    "TORCHELASTIC_USE_AGENT_STORE=True " + torchrun(0, 2, agent->port()));
  });
  const auto context = link::start_on_loopback(1, agent->port());
  auto link = context->open(0, {}, in_seconds(60));
  ASSERT_TRUE(link.is_ok()) << link.status().to_string();
  link.value().reset();
  const Ran ran = first.get();
  EXPECT_EQ(ran.exit_code, 1) << ran.output;
  EXPECT_NE(ran.output.find("stage 1: the connection broke"), std::string::npos) << ran.output;
}

TEST_F(StageC10d, WithoutALauncherItSaysWhatItLookedFor) {
  const Ran ran = run_mapl(stage(small_, "run"));
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find("SLURM_PROCID"), std::string::npos) << ran.output;
}

TEST_F(StageC10d, TheLauncherMustStartOneProcessForEachStage) {
  const Ran ran = run_mapl(stage(small_, "run"), torchrun(0, 3, 1));
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find("torchrun has started 3 processes, pipeline.stages is 4"),
            std::string::npos)
      << ran.output;
}

TEST_F(StageC10d, AStageThatIsNotTheLaunchersIsRefused) {
  const Ran ran = run_mapl(stage(small_, "run", "--stage 2"), torchrun(1, 4, 1));
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find("--stage is 2, and torchrun has made this process stage 1"),
            std::string::npos)
      << ran.output;
}

TEST_F(StageC10d, TrainSaysThatItIsForStages) {
  const Ran ran = run_mapl("train " + small_.recipe_file() + " --set link.kind=c10d --run " +
                           small_.folder() + "/run");
  EXPECT_EQ(ran.exit_code, 2) << ran.output;
  EXPECT_NE(ran.output.find("mapl stage"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace mapl::cli
