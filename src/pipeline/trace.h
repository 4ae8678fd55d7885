// What a stage does, and for how long, as a Chrome trace (chrome://tracing, ui.perfetto.dev).
//
// THREADS: one thread owns a trace.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace mapl::pipeline {

class Trace {
 public:
  static constexpr int kNoMicroBatch = -1;
  struct Options {
    int stage = 0;
    std::string path = {};  // of the Chrome trace; empty: none is written
    // Called when something begins.
    std::function<void(const std::string& name, uint64_t step, int micro_batch)> on_begin = {};
  };

  //   ERRORS  UserError when the file cannot be written.
  explicit Trace(Options options);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Something that lasts as long as this object. `trace` may be null.
  class Scope {
   public:
    // Literals: "forward", "" or "wait for", "gradient".
    struct What {
      const char* verb;
      const char* object = "";
    };
    Scope(Trace* trace, What what, uint64_t step, int micro_batch = kNoMicroBatch);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Trace* trace_;
    What what_;
    uint64_t step_;
    int micro_batch_;
    int64_t start_ns_ = 0;
  };

 private:
  Options options_;
  std::ofstream file_;
};

// One file of the events of all stages' files, which go.
void merge_traces(const std::vector<std::string>& paths, const std::string& merged);

}  // namespace mapl::pipeline
