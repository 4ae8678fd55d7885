#include "link/launcher.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <optional>

#include "base/status.h"

namespace mapl::link {
namespace {

constexpr int kDefaultPort = 29500;  // PyTorch's own
// WHY: two jobs on one machine must not meet. Below the ports that Linux gives to whoever connects.
constexpr int kFirstJobPort = 15000;
constexpr int kNumJobPorts = 10000;

struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  const char* local_size;  // processes on this machine; null where it does not say
};
constexpr Launcher kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", nullptr},
    {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", nullptr},
};

std::optional<std::string> find(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  if (found == environment.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

int number(const std::string& name, const std::string& text, int least, int most) {
  int value = -1;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most) {
    throw UserError(
        fmt::format("the variable {} is \"{}\"; it must be a whole number from {} to {}", name,
                    text, least, most));
  }
  return value;
}

const Launcher& launcher_of(const Environment& environment) {
  std::string looked_for;
  for (const Launcher& launcher : kLaunchers) {
    if (find(environment, launcher.rank)) return launcher;
    looked_for += fmt::format("{}{} and {} ({})", looked_for.empty() ? "" : ", ", launcher.rank,
                              launcher.size, launcher.name);
  }
  throw UserError(fmt::format(
      "link.kind = \"c10d\" takes its stage from a launcher, and none has set its variables: "
      "looked for {}; start with one of these, or set RANK, WORLD_SIZE, MASTER_ADDR and "
      "MASTER_PORT by hand",
      looked_for));
}

std::string address_of(const Environment& environment, const Launcher& launcher, int num_stages) {
  if (const auto given = find(environment, "MASTER_ADDR")) return *given;
  if (launcher.local_size != nullptr) {
    const auto here = find(environment, launcher.local_size);
    if (here && *here == std::to_string(num_stages)) return "127.0.0.1";
  }
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"}) {
    if (const auto nodes = find(environment, name)) return first_host(*nodes);
  }
  if (const auto node = find(environment, "SLURM_LAUNCH_NODE_IPADDR")) return *node;
  throw UserError(fmt::format(
      "{} says that this is stage {}, but not where stage 0 runs: looked for MASTER_ADDR, "
      "SLURM_STEP_NODELIST, SLURM_JOB_NODELIST, SLURM_NODELIST and SLURM_LAUNCH_NODE_IPADDR; set "
      "MASTER_ADDR to the address of stage 0's machine",
      launcher.name, environment.at(launcher.rank)));
}

int port_of(const Environment& environment) {
  if (const auto given = find(environment, "MASTER_PORT")) {
    return number("MASTER_PORT", *given, 1, 65535);
  }
  if (const auto job = find(environment, "SLURM_JOB_ID")) {
    return kFirstJobPort + number("SLURM_JOB_ID", *job, 0, 2147483647) % kNumJobPorts;
  }
  return kDefaultPort;
}

}  // namespace

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

Launch read_launch(const Environment& environment) {
  const Launcher& launcher = launcher_of(environment);
  const auto size = find(environment, launcher.size);
  if (!size) {
    throw UserError(fmt::format("{} is set and {} is not: {} sets both; set the number of stages",
                                launcher.rank, launcher.size, launcher.name));
  }
  Launch launch{.launcher = launcher.name};
  launch.num_stages = number(launcher.size, *size, 1, 65535);
  launch.stage = number(launcher.rank, environment.at(launcher.rank), 0, launch.num_stages - 1);
  launch.address = address_of(environment, launcher, launch.num_stages);
  launch.port = static_cast<uint16_t>(port_of(environment));
  // WHY "True": torchrun writes it as Python prints it.
  const bool agent_has_store = find(environment, "TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.hosts_store = launch.stage == 0 && !agent_has_store;
  launch.attempt = find(environment, "TORCHELASTIC_RESTART_COUNT").value_or("0");
  return launch;
}

std::string first_host(const std::string& nodelist) {
  std::string host;
  bool in_list = false;   // between [ and ]
  bool is_taken = false;  // its first entry has been copied
  for (const char c : nodelist) {
    if (c == ',' && !in_list) break;
    if (c == '[') {
      in_list = true;
      is_taken = false;
    } else if (c == ']') {
      in_list = false;
    } else if (in_list && (c == '-' || c == ',')) {
      is_taken = true;
    } else if (!in_list || !is_taken) {
      host += c;
    }
  }
  return host;
}

}  // namespace mapl::link
