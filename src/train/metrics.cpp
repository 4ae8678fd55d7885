#include "train/metrics.h"

#include <fmt/format.h>
#include <torch/torch.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "checkpoint/file.h"
#include "train/version.h"

namespace mapl::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTotals = "metrics.totals";
constexpr int64_t kNumTotals = 7;
constexpr const char* kStarted = "started";

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

pipeline::Traffic sum(const std::vector<pipeline::StageReport>& reports) {
  pipeline::Traffic total;
  for (const auto& report : reports) total += report.traffic;
  return total;
}

void add_traffic(Json& line, const pipeline::Traffic& traffic) {
  line["activation_bytes"] = traffic.activation_bytes;
  line["gradient_bytes"] = traffic.gradient_bytes;
  line["token_id_bytes"] = traffic.token_id_bytes;
  line["sync_bytes"] = traffic.sync_bytes;
  line["header_bytes"] = traffic.header_bytes;
}

void add_known(Json& line, const std::string& key, double value) {
  if (!std::isnan(value)) line[key] = value;
}

void add_stages(Json& line, const std::vector<pipeline::StageReport>& reports) {
  for (size_t k = 0; k < reports.size(); ++k) {
    line[fmt::format("grad_norm_stage_{}", k)] = std::sqrt(reports[k].squared_norm);
  }
  for (size_t b = 0; b + 1 < reports.size(); ++b) {
    add_known(line, fmt::format("energy_kept_{}", b), reports[b].energy_kept);
    add_known(line, fmt::format("activation_usage_{}", b), reports[b].activation_usage);
    add_known(line, fmt::format("gradient_usage_{}", b), reports[b + 1].gradient_usage);
    add_known(line, fmt::format("activation_error_{}", b), reports[b].activation_error);
    add_known(line, fmt::format("gradient_error_{}", b), reports[b + 1].gradient_error);
    add_known(line, fmt::format("basis_angle_{}", b), reports[b].basis_angle);
  }
  for (size_t k = 0; k < reports.size(); ++k) {
    line[fmt::format("compute_seconds_stage_{}", k)] = reports[k].compute_seconds;
    line[fmt::format("waiting_seconds_stage_{}", k)] = reports[k].waited_seconds;
    line[fmt::format("sending_seconds_stage_{}", k)] = reports[k].sending_seconds;
    line[fmt::format("peak_rss_bytes_stage_{}", k)] = reports[k].peak_rss_bytes;
  }
}

}  // namespace

Metrics::Metrics(const Recipe& recipe, const std::string& folder)
    : recipe_(recipe), folder_(folder) {
  open();
  std::ifstream events(folder_ + "/events.jsonl");
  for (std::string line; std::getline(events, line);) {
    const Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    totals_.recoveries += event.is_object() && event.value("event", kStarted) != kStarted;
  }
}

void Metrics::open() {
  file_ = std::ofstream(folder_ + "/metrics.jsonl", std::ios::app);
  if (file_) return;
  throw UserError("cannot write " + folder_ + "/metrics.jsonl; choose another --run folder");
}

void Metrics::go_back(int64_t steps, const math::NamedTensors& state) {
  const int64_t recoveries = totals_.recoveries;
  totals_ = {.steps = steps, .recoveries = recoveries};
  for (const auto& [name, value] : state) {
    if (name != kTotals || value.numel() != kNumTotals) continue;
    const auto* numbers = value.data_ptr<double>();
    totals_.seconds = numbers[0];
    totals_.orthogonality_error = numbers[1];
    int64_t* counts[] = {&totals_.traffic.activation_bytes, &totals_.traffic.gradient_bytes,
                         &totals_.traffic.token_id_bytes, &totals_.traffic.sync_bytes,
                         &totals_.traffic.header_bytes};
    for (size_t i = 0; i < std::size(counts); ++i) *counts[i] = std::llround(numbers[2 + i]);
  }
  file_.close();
  const std::string path = folder_ + "/metrics.jsonl";
  std::string kept;
  std::ifstream old(path);
  for (std::string line; std::getline(old, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    // A line that a killed process left half written is of no step.
    if (json.is_object() && json.value("step", steps + 1) <= steps) kept += line + "\n";
  }
  checkpoint::AtomicFile file(path);
  file.write(std::as_bytes(std::span(kept)));
  file.commit();
  open();
}

math::NamedTensors Metrics::state() const {
  const pipeline::Traffic& traffic = totals_.traffic;
  const std::vector<double> numbers = {totals_.seconds,
                                       totals_.orthogonality_error,
                                       static_cast<double>(traffic.activation_bytes),
                                       static_cast<double>(traffic.gradient_bytes),
                                       static_cast<double>(traffic.token_id_bytes),
                                       static_cast<double>(traffic.sync_bytes),
                                       static_cast<double>(traffic.header_bytes)};
  return {{kTotals, torch::tensor(numbers, torch::kDouble)}};
}

void Metrics::log_join(int64_t step, const std::string& why) {
  const std::string path = folder_ + "/events.jsonl";
  const bool is_first = !std::filesystem::exists(path);
  totals_.recoveries += is_first ? 0 : 1;
  const Json line = {{"event", is_first      ? kStarted
                               : why.empty() ? "resumed"
                                             : "recovered"},
                     {"step", step},
                     {"why", why},
                     {"_timestamp", unix_seconds()}};
  std::ofstream(path, std::ios::app) << line.dump() << std::endl;
}

void Metrics::log(const StepInfo& info, const pipeline::Step::Outcome& outcome) {
  const pipeline::Traffic traffic = sum(outcome.reports);
  totals_.traffic += traffic;
  totals_.peak_rss_bytes.clear();
  totals_.num_parameters = 0;
  for (const auto& report : outcome.reports) {
    totals_.peak_rss_bytes.push_back(report.peak_rss_bytes);
    totals_.num_parameters += report.num_parameters;
  }
  totals_.steps = info.step;
  totals_.seconds += info.seconds;
  double compute_seconds = 0;
  double orthogonality_error = 0;
  for (const auto& report : outcome.reports) {
    compute_seconds += report.compute_seconds;
    orthogonality_error = std::max(orthogonality_error, report.orthogonality_error);
  }
  totals_.orthogonality_error = std::max(totals_.orthogonality_error, orthogonality_error);
  const bool due = info.step % recipe_.metrics.log_freq == 0 ||
                   info.step == recipe_.training.steps || info.validation_loss.has_value();
  if (!due) return;
  const auto num_stages = static_cast<double>(outcome.reports.size());
  Json line;
  line["step"] = info.step;
  line["loss"] = outcome.loss;
  if (info.validation_loss) line["validation_loss"] = *info.validation_loss;
  line["grad_norm"] = std::sqrt(outcome.squared_norm);
  line["tokens"] = tokens();
  line["tokens_per_second"] =
      static_cast<double>(recipe_.training.global_batch_size * recipe_.training.sequence_length) /
      info.seconds;
  line["step_seconds"] = info.seconds;
  add_traffic(line, traffic);
  line["total_step_seconds"] = totals_.seconds;
  line["total_bytes"] = totals_.traffic.total();
  line["orthogonality_error"] = orthogonality_error;
  line["bubble_fraction"] = 1 - compute_seconds / (num_stages * info.seconds);
  line["lr"] = info.lr_factor * recipe_.optimizer.muon_lr;
  add_stages(line, outcome.reports);
  line["_timestamp"] = unix_seconds();
  file_ << line.dump() << std::endl;  // WHY flushed: a run that dies has told all it knew
  if (!file_) {
    throw RunError(Status(Code::kIo, fmt::format("{}/metrics.jsonl cannot be written: is the disk "
                                                 "full?",
                                                 folder_)));
  }
}

int64_t Metrics::tokens() const {
  return totals_.steps * recipe_.training.global_batch_size * recipe_.training.sequence_length;
}

double Metrics::bytes_per_token() const {
  const int64_t boundaries = recipe_.pipeline.stages - 1;
  if (boundaries == 0 || tokens() == 0) return 0;
  return static_cast<double>(totals_.traffic.total()) / static_cast<double>(boundaries * tokens());
}

double Metrics::tokens_per_second() const {
  return totals_.seconds > 0 ? static_cast<double>(tokens()) / totals_.seconds : 0;
}

// bf16 bytes of the full width over the bytes that crossed.
double Metrics::ratio(int64_t bytes, int legs) const {
  if (bytes == 0) return 1;
  const int64_t full =
      2 * recipe_.model.hidden_size * tokens() * (recipe_.pipeline.stages - 1) * legs;
  return static_cast<double>(full) / static_cast<double>(bytes);
}

void Metrics::write_summary(double validation_loss) const {
  const pipeline::Traffic& traffic = totals_.traffic;
  Json summary;
  summary["validation_loss"] = validation_loss;
  summary["steps"] = totals_.steps;
  summary["tokens"] = tokens();
  summary["total_step_seconds"] = totals_.seconds;
  summary["tokens_per_second"] = tokens_per_second();
  summary["compression_ratio"] = ratio(traffic.total(), 2);
  summary["activation_compression_ratio"] =
      ratio(traffic.activation_bytes + traffic.token_id_bytes, 1);
  summary["gradient_compression_ratio"] = ratio(traffic.gradient_bytes, 1);
  summary["bytes_per_token"] = bytes_per_token();
  add_traffic(summary, traffic);
  summary["parameters"] = totals_.num_parameters;
  summary["peak_rss_bytes"] = totals_.peak_rss_bytes;
  summary["orthogonality_error_max"] = totals_.orthogonality_error;
  summary["recoveries"] = totals_.recoveries;
  summary["mapl_version"] = kVersion;
  summary["libtorch_version"] = TORCH_VERSION;
  summary["machine"] = machine_name();
  const std::string text = summary.dump(2) + "\n";
  checkpoint::AtomicFile file(folder_ + "/summary.json");
  file.write({reinterpret_cast<const std::byte*>(text.data()), text.size()});
  file.commit();
}

std::string machine_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string processor = "unknown processor";
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      processor = line.substr(colon + 2);
      break;
    }
  }
  const double gib = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(sysconf(_SC_PAGE_SIZE)) / (1 << 30);
  return fmt::format("{}, {} cores, {:.0f} GiB", processor, std::thread::hardware_concurrency(),
                     gib);
}

}  // namespace mapl::train
