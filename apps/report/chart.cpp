#include "report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "report/html.h"

namespace evenkeel::app {
namespace {

constexpr double kWidth = 640, kLeft = 100, kTop = 16, kBottom = 52, kLabelHeight = 19;
constexpr double kMargin = 5;      // that dots may reach beyond the axes
constexpr double kDotsRight = 30;  // room for half a number
constexpr double kLetter = 11.5;   // width of a letter at 19 pixels, the size that style.css has on phones

/// Room for the longest of some labels.
double room_for(const std::vector<std::string>& labels) {
  std::size_t longest = 0;
  for (const std::string& label : labels) longest = std::max(longest, label.size());
  return kLetter * static_cast<double>(longest);
}

struct Axis {
  double log_base = 0;    // linear if it is 0
  bool integers = false;  // of a linear axis: it ends with the values, and no tick is between integers
  Bounds bounds = {};     // of a linear axis
};

/// One axis: from values to places in the picture.
class Scale {
 public:
  Scale(double low, double high, double from, double to, const Axis& axis)
      : from_(from), to_(to), log_base_(axis.log_base) {
    if (log_base_ != 0) {
      first_ = first_tick_ = std::floor(transformed(low) + 1e-9);
      last_ = last_tick_ = std::max(first_ + 1, std::ceil(transformed(high) - 1e-9));
      step_ = std::max(1.0, std::ceil((last_ - first_) / 7));
      return;
    }
    const double lowest = low, highest = high;
    if (!(high > low)) low -= 0.5, high += 0.5;
    const double rough = (high - low) / 5, power = std::pow(10, std::floor(std::log10(rough)));
    const double digit = rough / power;
    step_ = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
    if (axis.integers) {
      step_ = std::max(1.0, step_);
      first_ = low;
      last_ = high;
      first_tick_ = std::ceil(lowest / step_ - 1e-9) * step_;
      last_tick_ = highest;
    } else {
      first_ = first_tick_ = std::max(axis.bounds.low, std::floor(low / step_ + 1e-9) * step_);
      last_ = last_tick_ = std::min(axis.bounds.high, std::ceil(high / step_ - 1e-9) * step_);
    }
  }

  double at(double value) const {
    const double v = (transformed(value) - first_) / (last_ - first_);
    return from_ + std::clamp(v, -2.0, 3.0) * (to_ - from_);
  }

  std::vector<double> ticks() const {
    std::vector<double> all;
    for (int i = 0; first_tick_ + i * step_ <= last_tick_ + 1e-9 * step_; ++i) {
      const double v = first_tick_ + i * step_;
      all.push_back(log_base_ != 0 ? std::pow(log_base_, v) : v);
    }
    return all;
  }

  std::string text(double tick) const {
    if (log_base_ != 0)
      return tick > 0.0009 && tick < 9999 ? fmt::format("{:g}", tick) : fmt::format("{:.0e}", tick);
    const int digits = static_cast<int>(std::max(0.0, std::ceil(-std::log10(step_) - 1e-9)));
    return fmt::format("{:.{}f}", std::abs(tick) < step_ / 2 ? 0.0 : tick, digits);
  }

 private:
  double transformed(double value) const {
    if (log_base_ == 0) return value;
    return std::log(std::max(value, std::numeric_limits<double>::min())) / std::log(log_base_);
  }

  double from_, to_, log_base_, first_ = 0, last_ = 0, first_tick_ = 0, last_tick_ = 0, step_ = 0;
};

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(const std::vector<double>& values, bool positive_only) {
    for (const double v : values) {
      if (!std::isfinite(v) || (positive_only && v <= 0)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
    if (low > high) low = high = 1;
  }
};

/// The values whose x is at least `from`.
std::vector<double> values_from(double from, const std::vector<double>& x,
                                const std::vector<double>& values) {
  std::vector<double> kept;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (x[i] >= from) kept.push_back(values[i]);
  }
  return kept;
}

std::string opening(const std::string& name, const std::string& title, const std::string& description,
                    double height) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-labelledby=\"{}-title {}-desc\">\n<title id=\"{}-title\">{}</title>\n<desc "
      "id=\"{}-desc\">{}</desc>\n",
      kWidth, height, name, name, name, escape(title), name, escape(description));
}

std::string text(double x, double y, const char* anchor, const std::string& content, const char* classes) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y,
                     anchor, classes, escape(content));
}

std::string line(double x1, double y1, double x2, double y2, const std::string& classes) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1,
                     x2, y2, classes);
}

std::string horizontal_axis(const Scale& x, double top, double bottom, double middle,
                            const std::string& title) {
  std::string out;
  std::vector<std::string> texts;
  const std::vector<double> ticks = x.ticks();
  for (const double tick : ticks) texts.push_back(x.text(tick));
  const double apart = ticks.size() > 1 ? std::abs(x.at(ticks[1]) - x.at(ticks[0])) : kWidth;
  const auto every = static_cast<std::size_t>(std::ceil((room_for(texts) + 8) / apart));
  for (std::size_t i = 0; i < ticks.size(); ++i) {
    out += line(x.at(ticks[i]), top, x.at(ticks[i]), bottom, "grid");
    if (i % every == 0) out += text(x.at(ticks[i]), bottom + 22, "middle", texts[i], "tick");
  }
  return out + text(middle, bottom + 45, "middle", title, "axis");
}

std::string vertical_axis(const Scale& y, double left, double right, double middle,
                          const std::string& title) {
  std::string out;
  for (const double tick : y.ticks()) {
    out += line(left, y.at(tick), right, y.at(tick), "grid");
    out += text(left - 8, y.at(tick) + 5, "end", y.text(tick), "tick");
  }
  return out + fmt::format(
                   "<text transform=\"translate(22 {:.1f}) rotate(-90)\" text-anchor=\"middle\" "
                   "class=\"axis\">{}</text>\n",
                   middle, escape(title));
}

/// "1.0,2.0 3.0,4.0": the points where both are finite.
std::string points(const Scale& x, const Scale& y, const std::vector<double>& xs,
                   const std::vector<double>& ys, bool backwards = false) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < ys.size(); ++i) {
    if (std::isfinite(ys[i])) all.push_back(fmt::format("{:.1f},{:.1f}", x.at(xs[i]), y.at(ys[i])));
  }
  if (backwards) std::reverse(all.begin(), all.end());
  return fmt::format("{}", fmt::join(all, " "));
}

std::string drawn(const Series& s, const Scale& x, const Scale& y) {
  std::string out;
  const bool has_band =
      std::any_of(s.low.begin(), s.low.end(), [](double low) { return std::isfinite(low); });
  if (has_band) {
    out += fmt::format("<polygon points=\"{} {}\" class=\"band c{}\"/>\n", points(x, y, s.x, s.low),
                       points(x, y, s.x, s.high, true), s.style.color);
  }
  out += fmt::format("<polyline points=\"{}\" class=\"line c{} d{}\"/>\n", points(x, y, s.x, s.y),
                     s.style.color, s.style.dash);
  if (s.x.size() <= 10) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!std::isfinite(s.y[i])) continue;
      out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" class=\"dot c{}\"/>\n", x.at(s.x[i]),
                         y.at(s.y[i]), s.style.color);
    }
  }
  return out;
}

/// Where a line ends in the picture; at the bottom if it has no finite point.
double end_of(const Series& s, const Scale& y, double top, double bottom) {
  const auto last = std::find_if(s.y.rbegin(), s.y.rend(), [](double value) { return std::isfinite(value); });
  return last == s.y.rend() ? bottom : std::clamp(y.at(*last), top, bottom);
}

/// A label beside the end of each line, moved apart where they would overlap.
std::string end_labels(const std::vector<Series>& series, const Scale& y, double left, double top,
                       double bottom) {
  struct Label {
    const Series* series;
    double end, place;
  };
  std::vector<Label> labels;
  for (const Series& s : series) {
    const double end = end_of(s, y, top, bottom);
    labels.push_back({&s, end, end});
  }
  std::stable_sort(labels.begin(), labels.end(),
                   [](const Label& a, const Label& b) { return a.end < b.end; });
  double free = top;
  for (Label& l : labels) {
    l.place = std::max(l.place, free + kLabelHeight / 2);
    free = l.place + kLabelHeight / 2;
  }
  free = bottom;
  for (auto l = labels.rbegin(); l != labels.rend(); ++l) {
    l->place = std::min(l->place, free - kLabelHeight / 2);
    free = l->place - kLabelHeight / 2;
  }
  std::string out;
  for (const Label& l : labels) {
    const std::string color = fmt::format("line c{} d{}", l.series->style.color, l.series->style.dash);
    out += line(left + 2, l.end, left + 12, l.place, fmt::format("leader c{}", l.series->style.color));
    out += line(left + 12, l.place, left + 30, l.place, color);
    out += text(left + 34, l.place + 5, "start", l.series->label, "label");
  }
  return out;
}

}  // namespace

std::string svg(const LineChart& chart) {
  std::vector<std::string> labels;
  for (const Series& s : chart.series) labels.push_back(s.label);
  constexpr double kHeight = 380, bottom = kHeight - kBottom;
  const double right = kWidth - std::max(120.0, 40 + room_for(labels));
  Range xs, ys;
  for (const Series& s : chart.series) {
    xs.add(s.x, chart.log_x);
    for (const auto* values : {&s.y, &s.low, &s.high})
      ys.add(values_from(chart.y_range_from, s.x, *values), chart.log_y);
  }
  const Scale x(xs.low, xs.high, chart.falling_x ? right : kLeft, chart.falling_x ? kLeft : right,
                {.log_base = chart.log_x ? 2.0 : 0.0, .integers = true});
  const Scale y(ys.low, ys.high, bottom, kTop,
                {.log_base = chart.log_y ? 10.0 : 0.0, .bounds = chart.y_bounds});
  std::string out = opening(chart.name, chart.title, chart.description, kHeight);
  out += horizontal_axis(x, kTop, bottom, (kLeft + right) / 2, chart.x_title);
  out += vertical_axis(y, kLeft, right, (kTop + bottom) / 2, chart.y_title);
  out += fmt::format(
      "<clipPath id=\"{0}-clip\"><rect x=\"{1}\" y=\"{2}\" width=\"{3}\" height=\"{4}\"/></clipPath>\n"
      "<g clip-path=\"url(#{0}-clip)\">\n",
      chart.name, kLeft - kMargin, kTop - kMargin, right - kLeft + 2 * kMargin, bottom - kTop + kMargin);
  for (const Series& s : chart.series) out += drawn(s, x, y);
  return out + "</g>\n" + end_labels(chart.series, y, right, kTop, bottom) + "</svg>\n";
}

std::string svg(const DotChart& chart) {
  std::vector<std::string> labels;
  for (const DotRow& row : chart.rows) labels.push_back(row.label);
  constexpr double kRow = 34, right = kWidth - kDotsRight;
  const double left = std::max(120.0, 20 + room_for(labels));
  const double bottom = kTop + kRow * static_cast<double>(chart.rows.size()), height = bottom + kBottom;
  Range range;
  for (const DotRow& row : chart.rows) {
    range.add(row.values, false);
    range.add({row.low, row.high}, false);
  }
  const Scale x(range.low, range.high, left, right, {.bounds = chart.x_bounds});
  std::string out = opening(chart.name, chart.title, chart.description, height);
  out += horizontal_axis(x, kTop, bottom, (left + right) / 2, chart.x_title);
  for (std::size_t i = 0; i < chart.rows.size(); ++i) {
    const DotRow& row = chart.rows[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    out += text(left - 14, y + 5, "end", row.label, "label");
    if (std::isfinite(row.low)) {
      out +=
          fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"14\" class=\"band c{}\"/>\n",
                      x.at(row.low), y - 7, x.at(row.high) - x.at(row.low), row.style.color);
    }
    for (const double v : row.values) {
      out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" class=\"ring c{}\"/>\n", x.at(v), y,
                         row.style.color);
    }
    out += line(x.at(row.mean), y - 11, x.at(row.mean), y + 11, fmt::format("line c{} d0", row.style.color));
  }
  return out + "</svg>\n";
}

}  // namespace evenkeel::app
