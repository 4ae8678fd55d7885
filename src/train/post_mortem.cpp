#include "train/post_mortem.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace mapl::train {
namespace {

using Json = nlohmann::json;

constexpr size_t kLastEvents = 5;
constexpr size_t kDoingBytes = 256;

std::string note_path(const std::string& folder, int64_t stage) {
  return fmt::format("{}/logs/stage-{}.failure.json", folder, stage);
}

std::string doing_path(const std::string& folder, int64_t stage) {
  return fmt::format("{}/logs/stage-{}.doing", folder, stage);
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string clock_time(double seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<std::time_t>(seconds)));
}

struct Note {
  int64_t stage = 0;
  double time = 0;  // infinite for a stage that left none
  std::string what;
  int64_t finished_steps = 0;
};

// Notes of the stages that left one, the first to fail first.
std::vector<Note> read_notes(const std::string& folder, size_t num_stages) {
  std::vector<Note> notes;
  for (size_t k = 0; k < num_stages; ++k) {
    std::ifstream file(note_path(folder, static_cast<int64_t>(k)));
    const Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    notes.push_back({.stage = static_cast<int64_t>(k),
                     .time = json.value("_timestamp", 0.0),
                     .what = json.value("what", ""),
                     .finished_steps = json.value("finished_steps", int64_t{0})});
  }
  std::stable_sort(notes.begin(), notes.end(),
                   [](const Note& a, const Note& b) { return a.time < b.time; });
  return notes;
}

std::string last_begun(const std::string& folder, int64_t stage) {
  std::ifstream file(doing_path(folder, stage), std::ios::binary);
  std::string text;
  std::getline(file, text, '\0');
  return text;
}

std::vector<std::string> last_lines(const std::string& path, size_t count) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - std::ptrdiff_t(count));
  return lines;
}

}  // namespace

void note_failure(const std::string& folder, const Failure& failure) noexcept try {
  const Json json = {{"stage", failure.stage},
                     {"what", failure.what},
                     {"finished_steps", failure.finished_steps},
                     {"_timestamp", unix_seconds()}};
  std::ofstream(note_path(folder, failure.stage))
      << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
} catch (const std::exception&) {
  // The stage's log has it too.
}

LastBegun::LastBegun(const std::string& folder, int stage) noexcept {
  const int file = open(doing_path(folder, stage).c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  void* page = MAP_FAILED;
  if (ftruncate(file, kDoingBytes) == 0) {
    page = mmap(nullptr, kDoingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  close(file);
  if (page != MAP_FAILED) text_ = static_cast<char*>(page);
}

LastBegun::~LastBegun() {
  if (text_ != nullptr) munmap(text_, kDoingBytes);
}

void LastBegun::note(const std::string& name, uint64_t step, int micro_batch) noexcept {
  if (text_ == nullptr) return;
  const int length =
      micro_batch < 0 ? std::snprintf(text_, kDoingBytes, "%s, step %" PRIu64, name.c_str(), step)
                      : std::snprintf(text_, kDoingBytes, "%s, step %" PRIu64 ", micro-batch %d",
                                      name.c_str(), step, micro_batch);
  if (length >= 0 && length < static_cast<int>(kDoingBytes)) {
    std::memset(text_ + length, 0, kDoingBytes - static_cast<size_t>(length));
  }
}

bool has_failure(const std::string& folder, size_t num_stages) {
  return !read_notes(folder, num_stages).empty();
}

void forget_failure(const std::string& folder, int stage) noexcept {
  std::error_code ignored;
  std::filesystem::remove(folder + "/post_mortem.md", ignored);
  std::filesystem::remove(note_path(folder, stage), ignored);
}

std::string write_post_mortem(const std::string& folder, const std::vector<std::string>& ends) {
  const auto notes = read_notes(folder, ends.size());
  std::string page = "# The run failed\n\n";
  if (notes.empty()) {
    page += "No stage left word of why. How their processes ended, below, is all that is known.\n";
  } else {
    page += fmt::format("First was stage {}, at {}, after {} steps:\n\n    {}\n", notes[0].stage,
                        clock_time(notes[0].time), notes[0].finished_steps, notes[0].what);
  }
  page +=
      "\n## Each stage\n\n| stage | ended | at | finished steps | began last | said |\n"
      "| --- | --- | --- | --- | --- | --- |\n";
  for (size_t k = 0; k < ends.size(); ++k) {
    const auto note = std::find_if(notes.begin(), notes.end(), [&](const Note& one) {
      return one.stage == static_cast<int64_t>(k);
    });
    const std::string doing = last_begun(folder, static_cast<int64_t>(k));
    if (note == notes.end()) {
      page += fmt::format("| {} | {} | | | {} | nothing |\n", k, ends[k], doing);
    } else {
      page += fmt::format("| {} | {} | {} | {} | {} | {} |\n", k, ends[k], clock_time(note->time),
                          note->finished_steps, doing, note->what);
    }
  }
  page += "\n## What went before\n\nThe last times that all stages came together:\n\n";
  for (const std::string& line : last_lines(folder + "/events.jsonl", kLastEvents)) {
    page += "    " + line + "\n";
  }
  page += fmt::format("\nThe last step that was logged:\n\n");
  for (const std::string& line : last_lines(folder + "/metrics.jsonl", 1)) {
    page += "    " + line + "\n";
  }
  page +=
      "\nLogs are in logs/. The run goes on from its latest checkpoint with --resume; without one\n"
      "(checkpoint.interval) remove the folder and start again.\n";
  const std::string path = folder + "/post_mortem.md";
  std::ofstream file(path, std::ios::trunc);
  file << page;
  return file ? path : "";
}

}  // namespace mapl::train
