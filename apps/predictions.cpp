#include "predictions.h"

#include <array>
#include <charconv>
#include <optional>

#include "evenkeel/core/files.h"

namespace evenkeel::app {
namespace {

constexpr std::string_view kPredictionColumns = "index,label,prediction,p_label,p_prediction";

/// All of the text is one number, without sign or spaces before it.
template <typename T>
bool parse_number(std::string_view text, T& number) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

/// The line of image `index`, if it is one.
std::optional<Prediction> parse_line(std::string_view line, std::size_t index) {
  std::array<std::string_view, 5> fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::size_t comma = line.find(',');
    if ((comma == std::string_view::npos) != (i + 1 == fields.size())) return std::nullopt;
    fields[i] = line.substr(0, comma);
    line.remove_prefix(fields[i].size() + (comma == std::string_view::npos ? 0 : 1));
  }
  std::size_t number = 0;
  Prediction p;
  if (!parse_number(fields[0], number) || number != index || !parse_number(fields[1], p.label) ||
      !parse_number(fields[2], p.predicted) || !parse_number(fields[3], p.p_label) ||
      !parse_number(fields[4], p.p_predicted)) {
    return std::nullopt;
  }
  const bool classes = p.label < kPredictionClasses && p.predicted < kPredictionClasses;
  const bool ordered = p.right() ? p.p_label == p.p_predicted : p.p_label <= p.p_predicted;
  if (!classes || !ordered || !(0 <= p.p_label && p.p_predicted <= 1)) return std::nullopt;
  return p;
}

}  // namespace

std::string predictions_csv(const std::vector<Prediction>& predictions) {
  std::string csv = std::string(kPredictionColumns) + "\n";
  std::size_t index = 0;
  for (const Prediction& p : predictions) {
    csv += fmt::format("{},{},{},{:.6g},{:.6g}\n", index++, p.label, p.predicted, p.p_label, p.p_predicted);
  }
  return csv;
}

std::vector<Prediction> parse_predictions(std::string_view csv) {
  std::vector<Prediction> all;
  for (std::size_t number = 1; !csv.empty(); ++number) {
    const std::size_t end = csv.find('\n');
    if (end == std::string_view::npos) fail<Malformed>("is cut short: line {} has no end", number);
    const std::string_view line = csv.substr(0, end);
    csv.remove_prefix(end + 1);
    if (number == 1) {
      if (line != kPredictionColumns) fail<Malformed>("does not begin with {}", kPredictionColumns);
      continue;
    }
    const auto prediction = parse_line(line, all.size());
    if (!prediction) fail<Malformed>("has no prediction of image {} in line {}", all.size(), number);
    all.push_back(*prediction);
  }
  return all;
}

std::vector<Prediction> read_predictions(const std::filesystem::path& csv) {
  constexpr std::size_t kMostBytes = 64 << 20;  // of a million images
  std::vector<Prediction> all = parse_predictions(read_text(csv, kMostBytes));
  if (all.empty()) fail<Malformed>("has no predictions");
  return all;
}

}  // namespace evenkeel::app
