#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "report/comparison.h"
#include "report/run_folder.h"
#include "report/svg.h"

namespace mapl::report {
namespace {

constexpr size_t kWindow = 10;  // steps that a loss is the mean of
constexpr size_t kMostPoints = 400;
constexpr size_t kLongRun = 100;  // lines of metrics; of such the first tenth is not drawn

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --faint: #d8dde3; --soft: #57606a;
  --c0: #1f6feb; --c1: #d1242f; --c2: #1a7f37; --c3: #9a6700; --c4: #8250df; --c5: #bf3989;
  --c6: #0a7d8c; --c7: #57606a; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d;
  --soft: #9198a1; --c0: #58a6ff; --c1: #ff7b72; --c2: #56d364; --c3: #e3b341; --c4: #bc8cff;
  --c5: #f778ba; --c6: #39c5cf; --c7: #9198a1; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--faint); padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
td:first-child { min-width: 11rem; } p { color: var(--soft); }
.axis { stroke: var(--ink); } .grid { stroke: var(--faint); }
.label { fill: var(--soft); font-size: 12px; }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .key { stroke-width: 6; }
)css";

std::string style() {
  std::string text = kStyle;
  for (int i = 0; i < kNumColours; ++i) {
    text += fmt::format(
        ".series-{0} {{ stroke: var(--c{0}); }} .fill-{0} {{ fill: var(--c{0}); }}\n", i);
  }
  return text;
}

// The last parts of the paths that tell them apart.
std::vector<std::string> names_of(const std::vector<std::string>& folders) {
  size_t common = 0;
  const auto same_start = [&](size_t length) {
    return std::all_of(folders.begin(), folders.end(), [&](const std::string& folder) {
      return folder.size() > length && folder.compare(0, length, folders[0], 0, length) == 0;
    });
  };
  for (size_t i = 0; i < folders[0].size(); ++i) {
    if (folders[0][i] == '/' && same_start(i + 1)) common = i + 1;
  }
  if (folders.size() == 1) {
    const size_t slash = folders[0].find_last_of('/', folders[0].size() - 2);
    common = slash == std::string::npos ? 0 : slash + 1;
  }
  std::vector<std::string> names;
  for (const std::string& folder : folders) names.push_back(folder.substr(common));
  return names;
}

template <typename Number>
Series loss_series(const std::string& name, const RunFigures& run, Number Point::*x) {
  Series series{.name = name, .points = {}};
  const auto losses = smoothed_loss(run.points, kWindow);
  const size_t stride = std::max<size_t>(1, losses.size() / kMostPoints);
  for (size_t i = std::min(kWindow, losses.size()) - 1; i < losses.size(); i += stride) {
    series.points.emplace_back(static_cast<double>(run.points[i].*x), losses[i]);
  }
  return series;
}

// Where the loss starts is far above where runs differ.
double highest_loss(const std::vector<RunFigures>& runs) {
  double highest = 0;
  for (const RunFigures& run : runs) {
    if (run.points.size() < kLongRun) return std::numeric_limits<double>::infinity();
    highest = std::max(highest, smoothed_loss(run.points, kWindow)[run.points.size() / 10]);
  }
  return highest;
}

// "run 2, boundary 1": the table of runs has their names.
std::string place_in(const std::vector<RunFigures>& runs, size_t run, const std::string& place) {
  return runs.size() == 1 ? place : fmt::format("run {}, {}", run + 1, place);
}

// A line for each run and boundary that has something to tell: known, and not 1 throughout (of a
// boundary where nothing is projected).
std::vector<Series> boundary_series(const std::vector<RunFigures>& runs,
                                    RunFigures::BoundaryTraces RunFigures::*traces,
                                    const std::string& what = "boundary") {
  std::vector<Series> all;
  for (size_t i = 0; i < runs.size(); ++i) {
    for (size_t b = 0; b < (runs[i].*traces).size(); ++b) {
      const auto& values = (runs[i].*traces)[b];
      Series series{place_in(runs, i, fmt::format("{} {}", what, b)), {}};
      const size_t stride = std::max<size_t>(1, values.size() / kMostPoints);
      bool tells = false;
      for (size_t k = 0; k < values.size(); k += stride) {
        if (std::isnan(values[k])) continue;
        tells |= values[k] != 1.0;
        series.points.emplace_back(static_cast<double>(runs[i].points[k].step), values[k]);
      }
      if (tells) all.push_back(std::move(series));
    }
  }
  return all;
}

std::string section(const std::string& title, const std::string& note, const std::string& body) {
  return fmt::format("<h2>{}</h2>\n<p>{}</p>\n{}", escape(title), escape(note), body);
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::string text = "<div class=\"wide\"><table>";
  for (size_t r = 0; r < rows.size(); ++r) {
    text += "<tr>";
    for (const std::string& cell : rows[r]) {
      text += fmt::format("<{0}>{1}</{0}>", r == 0 ? "th" : "td", escape(cell));
    }
    text += "</tr>\n";
  }
  return text + "</table></div>\n";
}

std::string figures(const std::vector<std::string>& names, const std::vector<RunFigures>& runs) {
  std::vector<std::vector<std::string>> rows = {{"run", "validation loss", "B/token out",
                                                 "B/token back", "ratio", "parameters", "memory MB",
                                                 "step s", "max |A'A - I|"}};
  for (size_t i = 0; i < runs.size(); ++i) {
    const RunFigures& run = runs[i];
    rows.push_back(
        {names[i], fmt::format("{:.4f}", run.validation_loss),
         fmt::format("{:.1f}", run.activation_bytes), fmt::format("{:.1f}", run.gradient_bytes),
         fmt::format("{:.2f}", run.compression_ratio),
         fmt::format("{:.2f} M", 1e-6 * static_cast<double>(run.parameters)),
         fmt::format("{:.0f}", 1e-6 * static_cast<double>(run.peak_rss_bytes)),
         fmt::format("{:.3f}", run.step_seconds), fmt::format("{:.1e}", run.orthogonality_error)});
  }
  return table(rows);
}

std::string recipe_differences(const std::vector<std::string>& names,
                               const std::vector<RunFigures>& runs) {
  std::set<std::string> keys;
  for (const RunFigures& run : runs) {
    for (const auto& [key, value] : run.recipe) keys.insert(key);
  }
  std::vector<std::vector<std::string>> rows = {{"key"}};
  rows[0].insert(rows[0].end(), names.begin(), names.end());
  for (const std::string& key : keys) {
    std::vector<std::string> row = {key};
    std::set<std::string> values;
    for (const RunFigures& run : runs) {
      const auto found = run.recipe.find(key);
      row.push_back(found == run.recipe.end() ? "" : found->second);
      values.insert(row.back());
    }
    if (values.size() > 1) rows.push_back(std::move(row));
  }
  if (rows.size() == 1) return "<p>The recipes are equal.</p>\n";
  return table(rows);
}

}  // namespace

std::string page(const std::vector<std::string>& folders) {
  std::vector<RunFigures> runs;
  for (const std::string& folder : folders) runs.push_back(read_run(folder));
  std::vector<std::string> names = names_of(folders);
  for (size_t i = 0; i < names.size() && names.size() > 1; ++i) {
    names[i] = fmt::format("{}  {}", i + 1, names[i]);
  }
  const double highest = highest_loss(runs);

  const auto loss_against = [&](const std::string& what, auto x, bool log_x) {
    std::vector<Series> series;
    for (size_t i = 0; i < runs.size(); ++i) series.push_back(loss_series(names[i], runs[i], x));
    return line_chart(series, {.title = "Loss against " + what,
                               .x_label = what,
                               .y_label = "loss, nats per token",
                               .log_x = log_x,
                               .highest = highest});
  };
  std::vector<Series> frontier;
  std::vector<BarRow> times;
  for (size_t i = 0; i < runs.size(); ++i) {
    frontier.push_back({names[i],
                        {{runs[i].total_bytes, runs[i].validation_loss}},
                        runs.size() > 1 ? std::to_string(i + 1) : ""});
    for (size_t k = 0; k < runs[i].stage_times.size(); ++k) {
      const StageTime& time = runs[i].stage_times[k];
      times.push_back({place_in(runs, i, fmt::format("stage {}", k)),
                       {time.compute_seconds, time.sending_seconds, time.waiting_seconds}});
    }
  }
  std::string body;
  body += section("Runs", "Bytes are per token and boundary.", figures(names, runs));
  body += section("Loss against tokens",
                  std::isfinite(highest) ? "Mean of ten steps. The first tenth lies above."
                                         : "Mean of ten steps.",
                  loss_against("tokens", &Point::tokens, false));
  body += section("Loss against bytes", "All that crossed one boundary, both ways.",
                  loss_against("bytes", &Point::bytes, true));
  body += section("Loss against time", "Seconds of stepping, validation and saving apart.",
                  loss_against("seconds", &Point::seconds, false));
  body += section("Validation loss against bytes per token", "Lower and further left is better.",
                  scatter_chart(frontier, {.title = "Validation loss against bytes per token",
                                           .x_label = "bytes per token and boundary",
                                           .y_label = "validation loss",
                                           .log_x = true}));
  const auto over_steps = [&](const std::string& title, const std::string& note,
                              const std::vector<Series>& series, const std::string& y_label) {
    if (series.empty()) return;
    body += section(title, note,
                    line_chart(series, {.title = title, .x_label = "step", .y_label = y_label}));
  };
  over_steps("Energy kept", "Share of the residual that the basis of a boundary keeps.",
             boundary_series(runs, &RunFigures::energy_of_boundary), "share");
  over_steps("Angle between neighbouring bases",
             "Mean principal angle between the bases of a boundary and the one before it.",
             boundary_series(runs, &RunFigures::angle_of_boundary), "degrees");
  const auto both_ways = [&](const auto& out, const auto& back) {
    std::vector<Series> all = boundary_series(runs, out, "out, boundary");
    for (Series& series : boundary_series(runs, back, "back, boundary")) {
      all.push_back(std::move(series));
    }
    return all;
  };
  over_steps("Codebook usage", "exp(entropy) of the entries chosen, over their number.",
             both_ways(&RunFigures::activation_usage, &RunFigures::gradient_usage), "share");
  over_steps("Codebook error", "Share of the energy of what crosses that codes lose.",
             both_ways(&RunFigures::activation_error, &RunFigures::gradient_error), "share");
  body += section("Where the time of each stage went", "Each bar is the whole of its stage's time.",
                  share_chart({"computing", "sending", "waiting"}, times, "Time of each stage"));
  body += section("Recipes", "Keys that differ.", recipe_differences(names, runs));
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<title>mapl report</title><style>{}</style></head>\n<body><h1>mapl report</h1>\n{}</body>"
      "</html>\n",
      style(), body);
}

}  // namespace mapl::report
