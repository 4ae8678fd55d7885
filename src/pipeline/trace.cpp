#include "pipeline/trace.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/status.h"

namespace mapl::pipeline {
namespace {

std::string name_of(const Trace::Scope::What& what) {
  return *what.object == 0 ? what.verb : fmt::format("{} {}", what.verb, what.object);
}

}  // namespace

Trace::Trace(Options options) : options_(std::move(options)) {
  if (options_.path.empty()) return;
  file_.open(options_.path, std::ios::app);  // a stage that was started again goes on
  if (!file_) throw UserError("cannot write the trace " + options_.path);
  file_ << fmt::format(
      "\n"
      R"([{{"name":"process_name","ph":"M","pid":{0},"args":{{"name":"stage {0}"}}}})",
      options_.stage);
}

// The format allows that the closing bracket is missing: a stage that dies leaves a good trace.
Trace::~Trace() {
  if (file_.is_open()) file_ << "\n]\n";
}

Trace::Scope::Scope(Trace* trace, What what, uint64_t step, int micro_batch)
    : trace_(trace), what_(what), step_(step), micro_batch_(micro_batch) {
  if (trace_ == nullptr) return;
  start_ns_ = now_ns();
  if (trace_->options_.on_begin) trace_->options_.on_begin(name_of(what_), step_, micro_batch_);
}

Trace::Scope::~Scope() {
  if (trace_ == nullptr || !trace_->file_.is_open()) return;
  const auto micro = [](int64_t ns) { return 1e-3 * static_cast<double>(ns); };
  trace_->file_ << fmt::format(
      ",\n"
      R"({{"name":"{}","ph":"X","pid":{},"tid":0,"ts":{:.3f},"dur":{:.3f},)"
      R"("args":{{"step":{},"micro_batch":{}}}}})",
      name_of(what_), trace_->options_.stage, micro(start_ns_), micro(now_ns() - start_ns_), step_,
      micro_batch_);
}

void merge_traces(const std::vector<std::string>& paths, const std::string& merged) {
  std::ofstream all(merged, std::ios::trunc);
  bool is_first = true;
  for (const std::string& path : paths) {
    std::ifstream one(path);
    for (std::string line; std::getline(one, line);) {
      if (line.starts_with('[')) line.erase(0, 1);
      if (line.ends_with(',')) line.pop_back();
      if (!line.ends_with("}}")) continue;  // the end, or what a stage that died left half written
      all << (is_first ? "[" : ",\n") << line;
      is_first = false;
    }
  }
  all << (is_first ? "[]\n" : "\n]\n");
  all.close();
  for (const std::string& path : paths) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
}

}  // namespace mapl::pipeline
