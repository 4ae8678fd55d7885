// What a Run folder tells (docs/run_folder.md): the figures that tables and pages are made of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mapl::report {

// One logged step.
struct Point {
  int64_t step = 0;
  int64_t tokens = 0;  // since the start
  double seconds = 0;  // since the start, steps alone
  double bytes = 0;    // over one boundary since the start, all of them
  double loss = 0;     // of the batch
};

// Where the time of a stage went, over the run.
struct StageTime {
  double compute_seconds = 0;
  double sending_seconds = 0;
  double waiting_seconds = 0;
};

struct RunFigures {
  std::string folder;
  std::map<std::string, std::string> recipe;  // "section.key" -> value, as text
  double validation_loss = 0;
  int64_t tokens = 0;
  // Per token and boundary; a leg's share of headers and synchronisation is in the total only.
  double activation_bytes = 0;  // towards the loss, token ids included
  double gradient_bytes = 0;
  double total_bytes = 0;
  double compression_ratio = 0;
  double orthogonality_error = 0;  // the largest of the run
  double energy_kept = 0;          // of the last step, mean over boundaries; NaN without boundaries
  double step_seconds = 0;         // median
  int64_t peak_rss_bytes = 0;      // sum over processes
  int64_t parameters = 0;          // trained numbers, those at the boundaries included
  std::vector<Point> points;
  // [boundary][point], NaN where not known (docs/run_folder.md).
  using BoundaryTraces = std::vector<std::vector<double>>;
  BoundaryTraces energy_of_boundary;
  BoundaryTraces angle_of_boundary;
  BoundaryTraces activation_usage;
  BoundaryTraces gradient_usage;
  BoundaryTraces activation_error;
  BoundaryTraces gradient_error;
  std::vector<StageTime> stage_times;
};

// True when the folder holds a run that came to its end.
bool is_finished(const std::string& folder);

// ERRORS  UserError when there is no summary, recipe or metrics, or when they are not what a run
//         writes.
RunFigures read_run(const std::string& folder);

// Mean loss of the last `window` points at each point; fewer at the start.
std::vector<double> smoothed_loss(const std::vector<Point>& points, size_t window);

}  // namespace mapl::report
