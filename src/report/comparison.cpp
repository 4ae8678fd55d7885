#include "report/comparison.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"

namespace mapl::report {
namespace {

constexpr size_t kWindow = 10;

struct Statistics {
  double mean = 0;
  double deviation = 0;  // of the sample; 0 for one value
};

Statistics over_seeds(const Arm& arm, const std::function<double(const RunFigures&)>& figure) {
  const auto count = static_cast<double>(arm.runs.size());
  Statistics result;
  for (const RunFigures& run : arm.runs) result.mean += figure(run) / count;
  for (const RunFigures& run : arm.runs) {
    result.deviation += std::pow(figure(run) - result.mean, 2) / std::max(count - 1, 1.0);
  }
  result.deviation = std::sqrt(result.deviation);
  return result;
}

double worst_orthogonality_error(const Arm& arm) {
  double worst = 0;
  for (const RunFigures& run : arm.runs) worst = std::max(worst, run.orthogonality_error);
  return worst;
}

std::string number(double value, const char* format) {
  return std::isfinite(value) ? fmt::format(fmt::runtime(format), value) : "-";
}

const Arm& baseline_of(const std::vector<Arm>& arms) {
  const auto named = std::find_if(arms.begin(), arms.end(),
                                  [](const Arm& arm) { return arm.name == "uncompressed"; });
  return named == arms.end() ? arms.front() : *named;
}

double loss_at(const RunFigures& run, double fraction) {
  const auto losses = smoothed_loss(run.points, kWindow);
  MAPL_CHECK(!losses.empty(), "{} has no steps", run.folder);
  const double last = static_cast<double>(losses.size() - 1);
  return losses[static_cast<size_t>(std::clamp(fraction, 0.0, 1.0) * last)];
}

using Row = std::vector<std::string>;

std::string as_markdown(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < widths.size(); ++i) {
      text += i == 0 ? fmt::format("| {:<{}} ", rows[r][i], widths[i])
                     : fmt::format("| {:>{}} ", rows[r][i], widths[i]);
    }
    text += "|\n";
    if (r > 0) continue;
    for (size_t i = 0; i < widths.size(); ++i) {
      text += i == 0 ? "| --- " : "| ---: ";
    }
    text += "|\n";
  }
  return text;
}

}  // namespace

double seconds_to_loss(const RunFigures& run, double loss) {
  const auto losses = smoothed_loss(run.points, kWindow);
  for (size_t i = kWindow - 1; i < losses.size(); ++i) {
    if (losses[i] <= loss) return run.points[i].seconds;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::string comparison_table(const std::vector<Arm>& arms, const ComparisonOptions& options) {
  MAPL_CHECK(!arms.empty(), "nothing to compare");
  const Arm& baseline = baseline_of(arms);
  const auto validation = [](const RunFigures& run) { return run.validation_loss; };
  const double base_loss = over_seeds(baseline, validation).mean;
  const double goal = over_seeds(baseline, [&](const RunFigures& run) {
                        return loss_at(run, options.fraction);
                      }).mean;
  std::vector<Row> rows = {{"method", "B/token out", "B/token back", "ratio", "parameters",
                            "memory MB", "validation loss", fmt::format("vs {}", baseline.name),
                            "max abs(A'A-I)", "energy kept", "step s",
                            fmt::format("s to loss {:.2f}", goal)}};
  for (const Arm& arm : arms) {
    const auto mean = [&](auto figure) { return over_seeds(arm, figure).mean; };
    const Statistics loss = over_seeds(arm, validation);
    const std::string spread = arm.runs.size() > 1 ? fmt::format(" +- {:.4f}", loss.deviation) : "";
    rows.push_back(
        {arm.name, number(mean([](const auto& run) { return run.activation_bytes; }), "{:.1f}"),
         number(mean([](const auto& run) { return run.gradient_bytes; }), "{:.1f}"),
         number(mean([](const auto& run) { return run.compression_ratio; }), "{:.2f}"),
         fmt::format("{:.2f} M", 1e-6 * static_cast<double>(arm.runs.front().parameters)),
         number(
             mean([](const auto& run) { return 1e-6 * static_cast<double>(run.peak_rss_bytes); }),
             "{:.0f}"),
         fmt::format("{:.4f}{}", loss.mean, spread),
         fmt::format("{:+.2f} %", 100 * (loss.mean / base_loss - 1)),
         number(worst_orthogonality_error(arm), "{:.1e}"),
         number(mean([](const auto& run) { return run.energy_kept; }), "{:.2f}"),
         number(mean([](const auto& run) { return run.step_seconds; }), "{:.3f}"),
         number(mean([&](const auto& run) { return seconds_to_loss(run, goal); }), "{:.0f}")});
  }
  return as_markdown(rows);
}

}  // namespace mapl::report
