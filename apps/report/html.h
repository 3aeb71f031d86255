// The small parts of a page. Every figure carries its key and full value, so that a page can be checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::app {

/// Text as HTML and XML want it.
std::string escape(std::string_view text);

/// A figure: what it is called ("networks/gn/test_loss_mean"), its value, and how it is shown. One that is
/// not finite is not defined, and shown as a dash.
struct Figure {
  std::string key;
  double value = 0;
  int digits = 2;                ///< after the point
  bool is_p_value = false;       ///< below 0.0001 only that is said
  bool depends_on_time = false;  ///< differs from run to run
};

std::string text_of(const Figure& figure);
/// The figure in running text.
std::string span(const Figure& figure);
/// The figure in a table; `shade` from 0 to 1 colours it.
std::string cell(const Figure& figure, double shade = 0);
/// "99.43 ± 0.04" or "99.40 to 99.46": two of them in one cell, the second one hidden where it is not
/// defined.
std::string pair_cell(const Figure& first, std::string_view between, const Figure& second);
std::string text_cell(std::string_view text);

/// A table that scrolls sideways where it is too wide.
struct Table {
  std::string caption;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  ///< the cells, as above; the first one becomes the row's head
};
std::string html(const Table& table);

/// A part of a page with a heading; `id` is for links to it.
std::string section(std::string_view id, std::string_view title, const std::string& content);
/// A paragraph in small print.
std::string note(std::string_view html);

/// "data:image/png;base64,..." of the bytes of a file.
std::string data_uri(std::string_view type, std::string_view bytes);

}  // namespace evenkeel::app
