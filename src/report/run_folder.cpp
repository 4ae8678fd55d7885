#include "report/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/status.h"

namespace mapl::report {
namespace {

using Json = nlohmann::json;

Json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw UserError(path + " is not there or cannot be read; give the folder of a run that ended");
  }
  return Json::parse(file);
}

// A recipe of a Run is complete and prints a key on each line.
std::map<std::string, std::string> read_recipe(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw UserError(path + " is not there or cannot be read");
  std::map<std::string, std::string> keys;
  std::string section;
  for (std::string line; std::getline(file, line);) {
    const size_t equals = line.find(" = ");
    if (line.starts_with('[') && line.ends_with(']')) {
      section = line.substr(1, line.size() - 2);
    } else if (equals != std::string::npos) {
      keys[section + "." + line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return keys;
}

double median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double bytes_of(const Json& summary) {
  double sum = 0;
  for (const char* key :
       {"activation_bytes", "gradient_bytes", "token_id_bytes", "sync_bytes", "header_bytes"}) {
    sum += summary.at(key).get<double>();
  }
  return sum;
}

// NaN for null and for what is not there.
double number_or_nan(const Json& line, const std::string& key) {
  const auto found = line.find(key);
  return found == line.end() || found->is_null() ? std::numeric_limits<double>::quiet_NaN()
                                                 : found->get<double>();
}

void read_metrics(const std::string& path, int boundaries, RunFigures& run) {
  std::ifstream file(path);
  if (!file) throw UserError(path + " is not there or cannot be read");
  std::vector<double> seconds;
  Point point;
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text);
    seconds.push_back(line.at("step_seconds").get<double>());
    point.step = line.at("step").get<int64_t>();
    point.tokens = line.at("tokens").get<int64_t>();
    // Totals, because not every step has a line (metrics.log_freq).
    point.seconds = line.at("total_step_seconds").get<double>();
    point.bytes = line.at("total_bytes").get<double>() / std::max(boundaries, 1);
    point.loss = line.at("loss").get<double>();
    run.energy_kept = boundaries == 0 ? std::numeric_limits<double>::quiet_NaN() : 0;
    for (int b = 0; b < boundaries; ++b) {
      const auto add = [&](RunFigures::BoundaryTraces& traces, const char* key) {
        traces[static_cast<size_t>(b)].push_back(number_or_nan(line, fmt::format("{}_{}", key, b)));
        return traces[static_cast<size_t>(b)].back();
      };
      run.energy_kept += add(run.energy_of_boundary, "energy_kept") / boundaries;
      add(run.angle_of_boundary, "basis_angle");
      add(run.activation_usage, "activation_usage");
      add(run.gradient_usage, "gradient_usage");
      add(run.activation_error, "activation_error");
      add(run.gradient_error, "gradient_error");
    }
    for (size_t k = 0; k < run.stage_times.size(); ++k) {
      StageTime& time = run.stage_times[k];
      time.compute_seconds += line.at(fmt::format("compute_seconds_stage_{}", k)).get<double>();
      time.sending_seconds += line.at(fmt::format("sending_seconds_stage_{}", k)).get<double>();
      time.waiting_seconds += line.at(fmt::format("waiting_seconds_stage_{}", k)).get<double>();
    }
    run.points.push_back(point);
  }
  run.step_seconds = median(seconds);
}

}  // namespace

bool is_finished(const std::string& folder) {
  return std::filesystem::exists(folder + "/summary.json");
}

RunFigures read_run(const std::string& folder) try {
  RunFigures run{.folder = folder};
  const Json summary = read_json(folder + "/summary.json");
  const auto& rss = summary.at("peak_rss_bytes");
  const int boundaries = static_cast<int>(rss.size()) - 1;
  for (auto* traces : {&run.energy_of_boundary, &run.angle_of_boundary, &run.activation_usage,
                       &run.gradient_usage, &run.activation_error, &run.gradient_error}) {
    traces->resize(static_cast<size_t>(std::max(boundaries, 0)));
  }
  run.stage_times.resize(rss.size());
  run.recipe = read_recipe(folder + "/recipe.toml");
  // Threads of one process, and each has told of all of it.
  const auto link = run.recipe.find("link.kind");
  const bool is_one_process = link != run.recipe.end() && link->second == "\"inproc\"";
  for (const Json& bytes : rss) {
    const auto stage = bytes.get<int64_t>();
    run.peak_rss_bytes =
        is_one_process ? std::max(run.peak_rss_bytes, stage) : run.peak_rss_bytes + stage;
  }
  run.parameters = summary.at("parameters").get<int64_t>();
  run.validation_loss = summary.at("validation_loss").get<double>();
  run.tokens = summary.at("tokens").get<int64_t>();
  const double crossings = static_cast<double>(run.tokens) * boundaries;
  if (crossings > 0) {
    run.activation_bytes = (summary.at("activation_bytes").get<double>() +
                            summary.at("token_id_bytes").get<double>()) /
                           crossings;
    run.gradient_bytes = summary.at("gradient_bytes").get<double>() / crossings;
    run.total_bytes = bytes_of(summary) / crossings;
  }
  run.compression_ratio = summary.at("compression_ratio").get<double>();
  run.orthogonality_error = summary.at("orthogonality_error_max").get<double>();
  read_metrics(folder + "/metrics.jsonl", boundaries, run);
  return run;
} catch (const nlohmann::json::exception& error) {
  throw UserError(folder + " does not hold what a run of this version writes: " + error.what());
}

std::vector<double> smoothed_loss(const std::vector<Point>& points, size_t window) {
  std::vector<double> means;
  double sum = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    sum += points[i].loss;
    if (i >= window) sum -= points[i - window].loss;
    means.push_back(sum / static_cast<double>(std::min(i + 1, window)));
  }
  return means;
}

}  // namespace mapl::report
