// Charts as SVG text. Colours are CSS classes (series-0 .. series-7, axis, grid, label) that the
// page defines for light and dark; nothing here is a script.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace mapl::report {

constexpr int kNumColours = 8;

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y; those that are not finite are left out
  std::string mark = {};                          // beside the dot of a scatter chart
};

struct ChartOptions {
  std::string title;  // read out in place of the picture
  std::string x_label;
  std::string y_label;
  bool log_x = false;                                        // REQUIRES: x > 0
  double highest = std::numeric_limits<double>::infinity();  // what lies above is left out
};

// A line for each series, and a legend: short names side by side, long ones without their middle.
// Empty series are in the legend only.
std::string line_chart(const std::vector<Series>& series, const ChartOptions& options);

// A dot for the last point of each series, and a legend.
std::string scatter_chart(const std::vector<Series>& series, const ChartOptions& options);

// A bar for each row, of parts side by side; each row is scaled to its own sum.
//   parts  names of the parts; the values of a row are in their order
struct BarRow {
  std::string name;
  std::vector<double> values;
};
std::string share_chart(const std::vector<std::string>& parts, const std::vector<BarRow>& rows,
                        const std::string& title);

// At most `count` + 2 round numbers that span [low, high]: 1, 2 or 5 times a power of ten apart.
std::vector<double> ticks(double low, double high, int count);

// The numbers 1, 2 and 5 times a power of ten in [low, high]; 1 alone where that is over `count`.
// REQUIRES: 0 < low <= high
std::vector<double> log_ticks(double low, double high, int count);

// &, <, >, " and ' made harmless in text and attributes; what is not valid UTF-8 or a control
// character becomes '?'.
std::string escape(const std::string& text);

}  // namespace mapl::report
