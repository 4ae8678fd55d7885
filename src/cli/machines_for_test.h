// Two machines of a run, on this one: keys, a port, and the command of each.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/run_mapl_for_test.h"
#include "link/loopback_for_test.h"

namespace mapl::cli {

inline std::string make_key(const train::SmallRun& small, const std::string& name) {
  const std::string line = run_mapl("keygen " + small.folder() + "/" + name).output;
  return line.substr(line.find('"') + 1, 40);
}

struct Machines {
  explicit Machines(const train::SmallRun& small) : small(small) {
    for (const char* name : {"key-0", "key-1", "key-2"}) keys.push_back(make_key(small, name));
    port = link::free_port();
  }
  // The recipe of both, with the public keys of machines a and b.
  std::string stage(int index, int a, int b, int own, const std::string& more = "") const {
    return command("stage", index, a, b, own, more);
  }
  std::string command(const std::string& verb, int index, int a, int b, int own,
                      const std::string& more = "") const {
    return verb + " " + small.recipe_file() + " --stage " + std::to_string(index) + " --key " +
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

}  // namespace mapl::cli
