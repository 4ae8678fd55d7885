// What is left to say of a run that failed: each stage notes its end, and one page puts the notes
// in order of time (docs/run_folder.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mapl::train {

// What a stage knows of its end.
struct Failure {
  int stage = 0;
  std::string what;  // the error: where, waiting for what, why
  int64_t finished_steps = 0;
};

// Writes <folder>/logs/stage-<k>.failure.json; does nothing when it cannot.
void note_failure(const std::string& folder, const Failure& failure) noexcept;
// Removes those of an earlier end, and its page: a stage that starts has not failed.
void forget_failure(const std::string& folder, int stage) noexcept;

// Whether a stage has left word.
bool has_failure(const std::string& folder, size_t num_stages);

// What a stage began last, in <folder>/logs/stage-<k>.doing: a page of memory that the kernel keeps
// when the process is killed. Does nothing when it cannot.
class LastBegun {
 public:
  LastBegun(const std::string& folder, int stage) noexcept;
  ~LastBegun();
  LastBegun(const LastBegun&) = delete;
  LastBegun& operator=(const LastBegun&) = delete;

  //   name         as pipeline::Trace has it: "wait for gradient"
  //   micro_batch  below 0: none
  void note(const std::string& name, uint64_t step, int micro_batch) noexcept;

 private:
  char* text_ = nullptr;
};

// Makes <folder>/post_mortem.md of the stages' notes and of how their processes ended.
//   ends  one text for each stage: "exit code 1", "signal 9 (Killed)", "not known here"
//   returns  its path; empty when it could not be written
std::string write_post_mortem(const std::string& folder, const std::vector<std::string>& ends);

}  // namespace mapl::train
