// Several methods under one budget, as a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/run_folder.h"

namespace mapl::report {

struct Arm {
  std::string name;
  std::vector<RunFigures> runs;  // one for each seed
};

struct ComparisonOptions {
  // The loss to be reached is that of the baseline after this fraction of its steps, in the mean of
  // ten.
  double fraction = 0.8;
};

// A Markdown table, a row for each arm. Losses are means over seeds with their standard deviation;
// the baseline is the arm called "uncompressed", or the first.
//   REQUIRES: an arm, and a run in each.
std::string comparison_table(const std::vector<Arm>& arms, const ComparisonOptions& options = {});

// Seconds of stepping until the loss, in the mean of ten, is at most `loss`; NaN when it never is.
double seconds_to_loss(const RunFigures& run, double loss);

}  // namespace mapl::report
