#include "link/launcher.h"

#include <gtest/gtest.h>

#include "base/status.h"

namespace mapl::link {
namespace {

void expect_refused(const Environment& environment, const std::vector<std::string>& words) {
  try {
    (void)read_launch(environment);
    FAIL() << "no error";
  } catch (const UserError& error) {
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "no '" << word << "' in: " << error.what();
    }
  }
}

Environment torchrun() {
  return {{"RANK", "2"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "10.0.0.7"}, {"MASTER_PORT", "4711"}};
}

TEST(Launcher, TorchrunSaysAll) {
  const Launch launch = read_launch(torchrun());
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.stage, 2);
  EXPECT_EQ(launch.num_stages, 4);
  EXPECT_EQ(launch.address, "10.0.0.7");
  EXPECT_EQ(launch.port, 4711);
  EXPECT_FALSE(launch.hosts_store);
}

TEST(Launcher, StageZeroHostsTheStoreUnlessTheAgentDoes) {
  Environment environment = torchrun();
  environment["RANK"] = "0";
  EXPECT_TRUE(read_launch(environment).hosts_store);
  environment["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  environment["TORCHELASTIC_RESTART_COUNT"] = "3";
  EXPECT_FALSE(read_launch(environment).hosts_store);
  EXPECT_EQ(read_launch(environment).attempt, "3");
}

TEST(Launcher, MpirunOnOneMachineMeetsOnLoopback) {
  const Environment open_mpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                                {"OMPI_COMM_WORLD_SIZE", "4"},
                                {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}};
  const Environment pmi = {{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}, {"MPI_LOCALNRANKS", "4"}};
  for (const Environment& environment : {open_mpi, pmi}) {
    const Launch launch = read_launch(environment);
    EXPECT_EQ(launch.launcher, "mpirun");
    EXPECT_EQ(launch.stage, 1);
    EXPECT_EQ(launch.num_stages, 4);
    EXPECT_EQ(launch.address, "127.0.0.1");
    EXPECT_EQ(launch.port, 29500);
  }
}

TEST(Launcher, MpirunAcrossMachinesMustSayWhereStageZeroIs) {
  Environment environment = {{"OMPI_COMM_WORLD_RANK", "3"},
                             {"OMPI_COMM_WORLD_SIZE", "4"},
                             {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  expect_refused(environment, {"mpirun", "stage 3", "MASTER_ADDR", "SLURM_JOB_NODELIST"});
  environment["MASTER_ADDR"] = "node1";
  EXPECT_EQ(read_launch(environment).address, "node1");
}

Environment slurm() {
  return {{"SLURM_PROCID", "5"},
          {"SLURM_NTASKS", "8"},
          {"SLURM_JOB_ID", "7654321"},
          {"SLURM_JOB_NODELIST", "gpu[07-09,12],login"},
          {"SLURM_LAUNCH_NODE_IPADDR", "10.9.9.9"}};
}

TEST(Launcher, SlurmMeetsOnItsFirstNode) {
  const Launch launch = read_launch(slurm());
  EXPECT_EQ(launch.launcher, "Slurm");
  EXPECT_EQ(launch.stage, 5);
  EXPECT_EQ(launch.num_stages, 8);
  EXPECT_EQ(launch.address, "gpu07");
  EXPECT_EQ(launch.port, 19321) << "from the job's number";
}

TEST(Launcher, WhatTheUserSetsGoesBeforeSlurms) {
  Environment environment = slurm();
  environment["MASTER_ADDR"] = "10.1.1.1";
  environment["MASTER_PORT"] = "600";
  EXPECT_EQ(read_launch(environment).address, "10.1.1.1");
  EXPECT_EQ(read_launch(environment).port, 600);
}

TEST(Launcher, SlurmWithoutNodelistMeetsWhereItWasLaunched) {
  Environment environment = slurm();
  environment.erase("SLURM_JOB_NODELIST");
  EXPECT_EQ(read_launch(environment).address, "10.9.9.9");
  environment["SLURM_NODELIST"] = "a1,a2";
  EXPECT_EQ(read_launch(environment).address, "a1");
}

// mpirun inside a Slurm job: the job's own variables are the same for every process.
TEST(Launcher, MpirunAndTorchrunGoBeforeTheJobAroundThem) {
  Environment environment = slurm();
  environment["OMPI_COMM_WORLD_RANK"] = "1";
  environment["OMPI_COMM_WORLD_SIZE"] = "2";
  EXPECT_EQ(read_launch(environment).launcher, "mpirun");
  EXPECT_EQ(read_launch(environment).stage, 1);
  environment.merge(torchrun());
  EXPECT_EQ(read_launch(environment).launcher, "torchrun");
}

TEST(Launcher, WithoutAnyItSaysWhatItLookedFor) {
  expect_refused({}, {"RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID",
                      "torchrun", "by hand"});
  expect_refused({{"RANK", "1"}}, {"WORLD_SIZE is not"});
}

TEST(Launcher, WhatIsNoNumberIsNamed) {
  Environment environment = torchrun();
  environment["RANK"] = "4";
  expect_refused(environment, {"RANK", "\"4\"", "from 0 to 3"});
  environment["RANK"] = "1x";
  expect_refused(environment, {"\"1x\""});
  environment["RANK"] = "1";
  environment["MASTER_PORT"] = "70000";
  expect_refused(environment, {"MASTER_PORT", "\"70000\"", "65535"});
}

TEST(FirstHost, IsWrittenOut) {
  const std::pair<const char*, const char*> cases[] = {
      {"alone", "alone"},
      {"a,b", "a"},
      {"gpu[07-09,12],login", "gpu07"},
      {"node[3]", "node3"},
      {"n-1,n-2", "n-1"},
      {"rack[0-3]n[1,2]-ib", "rack0n1-ib"},
      {"a[01,05-07].x.org", "a01.x.org"},
  };
  for (const auto& [list, host] : cases) EXPECT_EQ(first_host(list), host);
}

TEST(ProcessEnvironment, HoldsWhatIsSet) {
  EXPECT_EQ(process_environment().at("PATH"), getenv("PATH"));
}

}  // namespace
}  // namespace mapl::link
