// Charts as SVG: lines with bands and labels at their ends, and rows of dots.
#pragma once

#include <string>
#include <vector>

#include "statistics.h"

namespace evenkeel::app {

/// Colours and dashes are classes of report/style.css: "c0" .. "c6" and "d0" .. "d2".
struct Style {
  int color = 0, dash = 0;
};

struct Series {
  std::string label;
  Style style;
  std::vector<double> x, y;
  std::vector<double> low = {}, high = {};  ///< the band around y; may be empty
};

/// The values of x are integers. What is not finite is not drawn.
struct LineChart {
  std::string name;  ///< "test-loss": of its file, and its id in a page
  std::string title;
  std::string description;  ///< for who cannot see it
  std::string x_title, y_title;
  std::vector<Series> series;
  bool log_x = false, log_y = false;  ///< to base 2 and 10
  bool falling_x = false;             ///< the largest x is on the left
  Bounds y_bounds = {};               ///< the axis does not go beyond them
  double y_range_from = 0;            ///< points of smaller x do not widen the y axis, which may cut them off
};

/// One row: every value a dot, their mean a line with its interval.
struct DotRow {
  std::string label;
  Style style;
  std::vector<double> values;
  double mean = 0, low = 0, high = 0;  ///< low and high may be NaN
};

struct DotChart {
  std::string name, title, description, x_title;
  std::vector<DotRow> rows;
  Bounds x_bounds = {};  ///< the axis does not go beyond them
};

/// An <svg> element with role, title and description, to be coloured by a style sheet.
std::string svg(const LineChart& chart);
std::string svg(const DotChart& chart);

}  // namespace evenkeel::app
