#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mapl::report {
namespace {

constexpr double kWidth = 720, kHeight = 380;
constexpr double kLeft = 64, kRight = 16, kTop = 14, kBottom = 46;
constexpr double kLegendLine = 20;
constexpr size_t kMostLetters = 82;  // of a name on a line of its own

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Never empty: a chart of nothing, or of one value, still has axes.
  Range padded() const {
    if (low > high) return {0, 1};
    if (low == high)
      return {low - 0.5 * std::max(1.0, std::abs(low)), high + 0.5 * std::max(1.0, std::abs(high))};
    return *this;
  }
};

// From numbers to places in the picture.
class Frame {
 public:
  Frame(const std::vector<Series>& series, const ChartOptions& options) : options_(options) {
    Range x, y;
    for (const Series& one : series) {
      for (const auto& [px, py] : one.points) {
        if (!is_shown(px, py)) continue;
        x.include(axis_x(px));
        y.include(py);
      }
    }
    x_ = x.padded();
    y_ = y.padded();
    const auto marks = ticks(y_.low, y_.high, 6);
    y_ = {marks.front(), marks.back()};
  }

  bool is_shown(double x, double y) const {
    return std::isfinite(axis_x(x)) && std::isfinite(y) && y <= options_.highest;
  }
  double place_x(double x) const {
    return kLeft + (axis_x(x) - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight);
  }
  double place_y(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }

  std::string axes() const {
    std::string text;
    for (const double y : ticks(y_.low, y_.high, 6)) {
      text += fmt::format(
          "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text class=\"label\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>",
          kLeft, kWidth - kRight, place_y(y), place_y(y), kLeft - 8, place_y(y) + 4, y);
    }
    for (const double x : x_marks()) {
      text += fmt::format(
          "<text class=\"label\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
          place_x(x), kHeight - kBottom + 18, short_number(x));
    }
    text += fmt::format(
        "<line class=\"axis\" x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\"/>"
        "<text class=\"label\" x=\"{3}\" y=\"{4}\" text-anchor=\"middle\">{5}</text>"
        "<text class=\"label\" transform=\"translate(14 {6}) rotate(-90)\" "
        "text-anchor=\"middle\">{7}</text>",
        kLeft, kWidth - kRight, kHeight - kBottom, (kLeft + kWidth - kRight) / 2, kHeight - 8,
        escape(options_.x_label), (kTop + kHeight - kBottom) / 2, escape(options_.y_label));
    return text;
  }

  static std::string short_number(double value) {
    const double size = std::abs(value);
    if (size >= 1e9) return fmt::format("{:.3g}G", value * 1e-9);
    if (size >= 1e6) return fmt::format("{:.3g}M", value * 1e-6);
    if (size >= 1e3) return fmt::format("{:.3g}k", value * 1e-3);
    return fmt::format("{:.3g}", value);
  }

 private:
  std::vector<double> x_marks() const {
    constexpr int kMarks = 6;
    if (options_.log_x) return log_ticks(std::pow(10, x_.low), std::pow(10, x_.high), kMarks);
    std::vector<double> marks = ticks(x_.low, x_.high, kMarks);
    std::erase_if(marks, [&](double x) { return x < x_.low || x > x_.high; });
    return marks;
  }
  double axis_x(double x) const { return options_.log_x ? std::log10(x) : x; }

  ChartOptions options_;
  Range x_, y_;
};

// Lines that share a colour differ in their dashes.
std::string dash(size_t series) {
  const size_t round = series / kNumColours;
  return round == 0 ? "" : fmt::format(" stroke-dasharray=\"{} 3\"", 10 / round + 2);
}

std::string open_svg(double height, const std::string& title) {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>", kWidth, height,
                     escape(title));
}

// Without its middle where it is too long: what tells runs apart often stands at the end.
std::string shortened(const std::string& name) {
  if (name.size() <= kMostLetters) return name;
  const size_t end = kMostLetters / 2;
  return name.substr(0, kMostLetters - end - 3) + "..." + name.substr(name.size() - end);
}

// Legends of one chart, below it.
class Legend {
 public:
  explicit Legend(std::vector<std::string> names) : names_(std::move(names)) {
    size_t longest = 1;
    for (const std::string& name : names_) longest = std::max(longest, name.size());
    constexpr double kPerLetter = 6.8, kKey = 50;
    const double width = kWidth - kLeft - kRight;
    columns_ = static_cast<size_t>(
        std::clamp(width / (kKey + kPerLetter * static_cast<double>(longest)), 1.0, 4.0));
    column_width_ = width / static_cast<double>(columns_);
  }

  double height() const {
    return kLegendLine * static_cast<double>((names_.size() + columns_ - 1) / columns_) + 6;
  }
  std::string at(double top) const {
    std::string text;
    for (size_t i = 0; i < names_.size(); ++i) {
      const double y = top + kLegendLine * static_cast<double>(i / columns_);
      const double x = kLeft + column_width_ * static_cast<double>(i % columns_);
      text += fmt::format(
          "<line class=\"series-{0} key\"{1} x1=\"{2:.1f}\" x2=\"{3:.1f}\" y1=\"{4}\" "
          "y2=\"{4}\"/><text class=\"label\" x=\"{5:.1f}\" y=\"{6}\">{7}</text>",
          i % kNumColours, dash(i), x, x + 30, y + 5, x + 38, y + 9, escape(shortened(names_[i])));
    }
    return text;
  }

 private:
  std::vector<std::string> names_;
  size_t columns_ = 1;
  double column_width_ = 0;
};

std::vector<std::string> names_of(const std::vector<Series>& series) {
  std::vector<std::string> names;
  for (const Series& one : series) names.push_back(one.name);
  return names;
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> marks;
  const auto last = static_cast<int64_t>(std::ceil(high / step - 1e-9));
  for (auto i = static_cast<int64_t>(std::floor(low / step + 1e-9)); i <= last; ++i) {
    // Twelve digits: 0.30000000000000004 is a poor label.
    marks.push_back(std::stod(fmt::format("{:.12g}", static_cast<double>(i) * step)));
  }
  return marks;
}

std::vector<double> log_ticks(double low, double high, int count) {
  std::vector<double> marks, powers;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double mark = factor * power;
      if (mark < low * (1 - 1e-9) || mark > high * (1 + 1e-9)) continue;
      marks.push_back(mark);
      if (factor == 1) powers.push_back(mark);
    }
  }
  return static_cast<int>(marks.size()) > count ? powers : marks;
}

std::string line_chart(const std::vector<Series>& series, const ChartOptions& options) {
  const Frame frame(series, options);
  const Legend legend(names_of(series));
  std::string text = open_svg(kHeight + legend.height(), options.title) + frame.axes();
  for (size_t i = 0; i < series.size(); ++i) {
    std::string line;
    for (const auto& [x, y] : series[i].points) {
      if (!frame.is_shown(x, y)) continue;
      line += fmt::format("{:.1f},{:.1f} ", frame.place_x(x), frame.place_y(y));
    }
    if (line.empty()) continue;
    text += fmt::format("<polyline class=\"series-{}\"{} points=\"{}\"/>", i % kNumColours, dash(i),
                        line);
  }
  return text + legend.at(kHeight) + "</svg>\n";
}

std::string scatter_chart(const std::vector<Series>& series, const ChartOptions& options) {
  const Frame frame(series, options);
  const Legend legend(names_of(series));
  std::string text = open_svg(kHeight + legend.height(), options.title) + frame.axes();
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].points.empty()) continue;
    const auto [x, y] = series[i].points.back();
    if (!frame.is_shown(x, y)) continue;
    // Left of its dot in the right half, so that none leaves the picture.
    const bool left = frame.place_x(x) > kWidth / 2;
    text += fmt::format(
        "<circle class=\"fill-{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/><text class=\"label\" "
        "x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>",
        i % kNumColours, frame.place_x(x), frame.place_y(y), frame.place_x(x) + (left ? -8 : 8),
        frame.place_y(y) + 4, left ? "end" : "start", escape(series[i].mark));
  }
  return text + legend.at(kHeight) + "</svg>\n";
}

std::string share_chart(const std::vector<std::string>& parts, const std::vector<BarRow>& rows,
                        const std::string& title) {
  constexpr double kNames = 220, kBar = 16, kLine = 24;
  const double bottom = kLine * static_cast<double>(rows.size()) + 8;
  const Legend legend(parts);
  std::string text = open_svg(bottom + legend.height(), title);
  for (size_t r = 0; r < rows.size(); ++r) {
    const double y = kLine * static_cast<double>(r) + 4;
    text += fmt::format("<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                        kNames - 8, y + 12, escape(rows[r].name));
    double sum = 0;
    for (const double value : rows[r].values) sum += value;
    double x = kNames;
    for (size_t i = 0; i < rows[r].values.size(); ++i) {
      const double width = sum > 0 ? rows[r].values[i] / sum * (kWidth - kNames - kRight) : 0;
      text += fmt::format(
          "<rect class=\"fill-{}\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>",
          i % kNumColours, x, y, width, kBar);
      x += width;
    }
  }
  return text + legend.at(bottom) + "</svg>\n";
}

std::string escape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const int more = c < 0x80 ? 0 : c >= 0xF0 && c < 0xF5 ? 3 : c >= 0xE0 ? 2 : c >= 0xC2 ? 1 : -1;
    bool is_whole =
        more >= 0 && c < 0xF5 && i + static_cast<size_t>(std::max(more, 0)) < text.size();
    for (int k = 1; is_whole && k <= more; ++k) {
      is_whole = (static_cast<unsigned char>(text[i + static_cast<size_t>(k)]) & 0xC0) == 0x80;
    }
    if (!is_whole || (c < 0x20 && c != '\n' && c != '\t')) {
      out += '?';
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out.append(text, i, static_cast<size_t>(more) + 1);
      i += static_cast<size_t>(more);
    }
  }
  return out;
}

}  // namespace mapl::report
