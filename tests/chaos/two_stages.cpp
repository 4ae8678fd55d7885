#include "chaos/two_stages.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "link/curve_keys.h"
#include "link/loopback_for_test.h"

namespace mapl::chaos {

TwoStages::TwoStages(std::vector<std::string> sets, uint32_t seed)
    : sets_(std::move(sets)),
      middle_(seed),
      inner_(link::free_port()),
      outer_(link::free_port()),
      proxy_(outer_, inner_) {
  for (int stage : {0, 1}) {
    const auto identity = link::generate_identity();
    public_keys_.push_back(identity.public_key);
    const Status written = link::write_secret_key(key_file(stage), identity);
    if (!written.is_ok()) throw std::runtime_error(written.message());
  }
  proxy_.listen_in([this](int connection, int from, std::vector<char>& bytes) {
    return middle_.pass(connection, from, bytes);
  });
}

std::vector<Process> TwoStages::start(const std::string& run, int steps) const {
  std::vector<Process> stages;
  for (int stage : {1, 0}) {
    // WHY the shell: a session of a usual Linux has 1024 descriptors, more only for the asking.
    std::vector<std::string> words = {
        "/bin/sh",      "-c",        "ulimit -Sn 1024; exec \"$0\" \"$@\"",
        mapl_path(),    "stage",     place_.recipe_file(),
        "--quiet",      "--stage",   std::to_string(stage),
        "--run",        folder(run), "--key",
        key_file(stage)};
    std::vector<std::string> sets = {
        "link.kind=zmq",
        "pipeline.stages=2",
        fmt::format("training.steps={}", steps),
        "training.max_norm=0.5",
        "checkpoint.interval=50",
        "boundary.subtract_mean=true",
        "boundary.activation=rvq",
        "boundary.rvq_group_size=2",
        "boundary.rvq_entries=8",
        "boundary.rvq_warmup_steps=5",
        fmt::format("link.stages=[{{public_key=\"{}\"}},{{endpoint=\"tcp://127.0.0.1:{}\","
                    "public_key=\"{}\"}}]",
                    public_keys_[0], stage == 1 ? inner_ : outer_, public_keys_[1])};
    sets.insert(sets.end(), sets_.begin(), sets_.end());
    for (const std::string& set : sets) {
      words.emplace_back("--set");
      words.push_back(set);
    }
    stages.emplace_back(words, place_.folder() + "/output");
  }
  return stages;
}

std::string TwoStages::output() const {
  std::ifstream file(place_.folder() + "/output");
  return {std::istreambuf_iterator<char>(file), {}};
}

Target TwoStages::target() {
  return {.port = inner_, .server_key = public_keys_[1], .recording = middle_.recording()};
}

Caller TwoStages::honest() const {
  const auto identity = link::read_secret_key(key_file(0));
  return {identity.public_key, identity.secret_key, public_keys_[1]};
}

std::string TwoStages::key_file(int stage) const {
  return fmt::format("{}/key-{}", place_.folder(), stage);
}

void Watched::look(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string word; file >> word;) {
    if (word == "VmHWM:") file >> peak_kib;
  }
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  double ticks[2] = {0, 0};
  std::string word;
  for (int field = 1; field < 14 && stat >> word;) ++field;
  if (stat >> ticks[0] >> ticks[1]) {
    cpu_seconds = (ticks[0] + ticks[1]) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  std::error_code gone;
  const std::filesystem::directory_iterator files(fmt::format("/proc/{}/fd", pid), gone);
  if (!gone) peak_files = std::max<int64_t>(peak_files, std::distance(begin(files), end(files)));
}

}  // namespace mapl::chaos
