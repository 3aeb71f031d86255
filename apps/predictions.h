// predictions.csv: what a network says about each of the test images.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::app {

inline constexpr int kPredictionClasses = 10;

/// A line of predictions.csv.
struct Prediction {
  int label = 0, predicted = 0;
  double p_label = 0, p_predicted = 0;

  bool right() const { return label == predicted; }
};

/// "index,label,prediction,p_label,p_prediction", one line an image.
std::string predictions_csv(const std::vector<Prediction>& predictions);
/// The lines that predictions_csv wrote; probabilities have six digits there. Throws Malformed on anything
/// else, on probabilities that are none, and where the label is more probable than the prediction.
std::vector<Prediction> parse_predictions(std::string_view csv);
/// Reads predictions.csv. Throws Malformed.
std::vector<Prediction> read_predictions(const std::filesystem::path& csv);

}  // namespace evenkeel::app
