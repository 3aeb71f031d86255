#include "report/html.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cmath>

namespace evenkeel::app {
namespace {

constexpr double kSmallestP = 0.0001;  // that is shown

std::string attributes(const Figure& f) {
  return fmt::format("data-key=\"{}\" data-value=\"{}\"{}", escape(f.key),
                     std::isfinite(f.value) ? fmt::format("{}", f.value) : "",
                     f.depends_on_time ? " data-timing" : "");
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string text_of(const Figure& f) {
  if (!std::isfinite(f.value)) return "–";
  if (f.is_p_value) return f.value < kSmallestP ? "<0.0001" : fmt::format("{:.4f}", f.value);
  std::string text = fmt::format("{:.{}f}", f.value, f.digits);
  const bool tiny = f.value != 0 && std::abs(f.value) < 0.5 * std::pow(10, -f.digits);
  return tiny ? fmt::format("{:.1e}", f.value) : text;
}

std::string span(const Figure& f) {
  return fmt::format("<span class=\"figure\" {}>{}</span>", attributes(f), escape(text_of(f)));
}

std::string cell(const Figure& f, double shade) {
  const std::string style = shade > 0 ? fmt::format(" class=\"shaded\" style=\"--shade:{:.3f}\"", shade) : "";
  return fmt::format("<td{} {}>{}</td>", style, attributes(f), escape(text_of(f)));
}

std::string pair_cell(const Figure& first, std::string_view between, const Figure& second) {
  const char* format =
      std::isfinite(second.value) ? "<td>{}{}{}</td>" : "<td>{}<span hidden>{}{}</span></td>";
  return fmt::format(fmt::runtime(format), span(first), between, span(second));
}

std::string text_cell(std::string_view text) {
  return fmt::format("<td class=\"text\" data-text>{}</td>", escape(text));
}

std::string html(const Table& table) {
  std::string out = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{}\"><table>\n<caption>{}</caption>\n"
      "<thead><tr>",
      escape(table.caption), escape(table.caption));
  for (const std::string& column : table.columns)
    out += fmt::format("<th scope=\"col\">{}</th>", escape(column));
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", escape(row.front()));
    for (std::size_t i = 1; i < row.size(); ++i) out += row[i];
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string section(std::string_view id, std::string_view title, const std::string& content) {
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}</h2>\n{2}</section>\n", id,
      escape(title), content);
}

std::string note(std::string_view html) { return fmt::format("<p class=\"note\">{}</p>\n", html); }

std::string data_uri(std::string_view type, std::string_view bytes) {
  std::string base64(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  base64.resize(static_cast<std::size_t>(length));
  return fmt::format("data:{};base64,{}", type, base64);
}

}  // namespace evenkeel::app
