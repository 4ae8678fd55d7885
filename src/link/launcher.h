// Which stage this process is among those that a launcher started, and where they meet: read from
// the variables that torchrun, mpirun (Open MPI, or any with PMI) and Slurm set. docs/c10d.md has
// the table.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace mapl::link {

struct Launch {
  std::string launcher;      // for messages: "torchrun", "mpirun", "Slurm"
  int stage = 0;             // the launcher's rank
  int num_stages = 1;        // its world size
  std::string address;       // of the machine that stage 0 runs on
  uint16_t port = 0;         // there; 0 picks one
  bool hosts_store = false;  // stage 0, unless torchrun's agent keeps a store for all
  std::string attempt = {};  // which restart of torchrun's this is: an agent's store outlives them
};

using Environment = std::map<std::string, std::string>;
Environment process_environment();

// The first that is there of torchrun's, mpirun's and Slurm's. (mpirun and torchrun may themselves
// be started inside a Slurm job, whose variables then describe something else.)
//   ERRORS  UserError: no launcher's variables, some missing, or not numbers; names what was looked
//           for
Launch read_launch(const Environment& environment);

// "gpu[07-09,12],login" -> "gpu07": Slurm's way to write several hosts.
std::string first_host(const std::string& nodelist);

}  // namespace mapl::link
