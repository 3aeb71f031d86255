// How a network does on a set of images, and the files that say so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evenkeel/nn/data.h"
#include "evenkeel/nn/module.h"
#include "predictions.h"

namespace evenkeel::app {

/// What a network says about every image of a dataset.
struct Evaluation {
  Tensor log_probs;                     // f32 [images, classes], on the CPU
  std::vector<std::int64_t> labels;     // the truth
  std::vector<std::int64_t> predicted;  // the first of the most probable classes
  double loss = 0;                      // mean of -log p(label)
  double seconds = 0;

  std::int64_t images() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t correct() const { return images() - static_cast<std::int64_t>(misclassified().size()); }
  double accuracy() const { return static_cast<double>(correct()) / static_cast<double>(images()); }
  /// The indices of the images whose prediction is not their label, in order.
  std::vector<std::int64_t> misclassified() const;
};

/// Runs `net` in evaluation mode over the whole dataset; leaves it in training mode.
Evaluation evaluate(nn::Module& net, const data::Dataset& dataset, std::int64_t batch_size, Device device);

/// The label and the prediction of every image with their probabilities.
std::vector<Prediction> predictions(const Evaluation& evaluation);
/// Counts by label (rows) and prediction (columns).
std::string confusion_csv(const Evaluation& evaluation);
/// A picture of the first ten misclassified images, each under its prediction and label, below `title`.
std::string misclassified_png(const Evaluation& evaluation, const data::Dataset& dataset,
                              const std::string& title);

}  // namespace evenkeel::app
