#include "evaluation.h"

#include <algorithm>
#include <cmath>

#include "console.h"
#include "evenkeel/core/autograd.h"
#include "picture.h"
#include "program.h"

namespace evenkeel::app {
namespace {

/// The outputs of `net` for all images, f32 [images, classes] on the CPU.
Tensor outputs(nn::Module& net, const data::Dataset& dataset, std::int64_t batch_size, Device device) {
  const NoGrad guard;
  net.eval();
  Tensor all;
  std::int64_t done = 0;
  for (const auto& [images, labels] :
       dataset.batches({.size = batch_size, .shuffle = false, .device = device})) {
    const Tensor out = net(images).to(Device::cpu());
    if (!all.defined()) all = empty({dataset.size(), out.size(1)});
    all.slice(0, done, done + out.size(0)).copy_(out);
    done += out.size(0);
    stop_if_signalled("during evaluation");
  }
  net.train();
  return all;
}

}  // namespace

std::vector<std::int64_t> Evaluation::misclassified() const {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < images(); ++i) {
    if (predicted[i] != labels[i]) indices.push_back(i);
  }
  return indices;
}

Evaluation evaluate(nn::Module& net, const data::Dataset& dataset, std::int64_t batch_size, Device device) {
  const Stopwatch clock;
  Evaluation e;
  e.log_probs = outputs(net, dataset, batch_size, device);
  e.labels = dataset.labels().to_vector<std::int64_t>();
  const std::int64_t classes = e.log_probs.size(1);
  const float* row = e.log_probs.data<float>();
  for (const std::int64_t label : e.labels) {
    e.predicted.push_back(std::max_element(row, row + classes) - row);
    e.loss -= row[label];
    row += classes;
  }
  e.loss /= static_cast<double>(e.images());
  e.seconds = clock.seconds();
  return e;
}

std::vector<Prediction> predictions(const Evaluation& e) {
  std::vector<Prediction> all;
  const std::int64_t classes = e.log_probs.size(1);
  const float* row = e.log_probs.data<float>();
  for (std::int64_t i = 0; i < e.images(); ++i, row += classes) {
    const std::int64_t label = e.labels[i], predicted = e.predicted[i];
    all.push_back({static_cast<int>(label), static_cast<int>(predicted), std::exp(row[label]),
                   std::exp(row[predicted])});
  }
  return all;
}

std::string confusion_csv(const Evaluation& e) {
  const std::int64_t classes = e.log_probs.size(1);
  std::vector<std::int64_t> counts(classes * classes);
  for (std::int64_t i = 0; i < e.images(); ++i) ++counts[e.labels[i] * classes + e.predicted[i]];
  std::string csv = "label";
  for (std::int64_t c = 0; c < classes; ++c) csv += fmt::format(",{}", c);
  for (std::int64_t c = 0; c < classes; ++c) {
    const auto row = counts.begin() + c * classes;
    csv += fmt::format("\n{},{}", c, fmt::join(row, row + classes, ","));
  }
  return csv + "\n";
}

std::string misclassified_png(const Evaluation& e, const data::Dataset& dataset, const std::string& title) {
  std::vector<Tile> tiles;
  for (const std::int64_t i : e.misclassified()) {
    if (tiles.size() == 10) break;
    tiles.push_back({fmt::format("pred {}  true {}", e.predicted[i], e.labels[i]),
                     dataset.images().slice(0, i, i + 1).to_vector<std::uint8_t>()});
  }
  return tiles_png(title, tiles, static_cast<int>(dataset.images().size(2)));
}

}  // namespace evenkeel::app
