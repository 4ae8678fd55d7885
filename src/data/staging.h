// A folder that comes into being complete or not at all.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <thread>

namespace mapl::data {

// Files are written into a hidden folder beside `out`; commit() renames it to `out`. Without a
// commit it is removed: by the destructor, or by a thread of its own when SIGINT, SIGTERM or SIGHUP
// ends the process.
//
// THREADS  Blocks those signals in the calling thread as long as it lives: construct it before
//          other threads start.
class Staging {
 public:
  // ERRORS  UserError when `out` exists and is no empty folder; RunError when no folder can be
  // made.
  explicit Staging(const std::string& out);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const std::filesystem::path& folder() const { return folder_; }

  // ERRORS  RunError when the folder cannot be renamed.
  void commit();

  // Removes the hidden folder for `out` of a process that crashed.
  static void remove_left_by(pid_t process, const std::string& out);

 private:
  void wait_for_signal(std::stop_token stop);

  std::filesystem::path out_;
  std::filesystem::path folder_;
  std::jthread watcher_;
};

}  // namespace mapl::data
