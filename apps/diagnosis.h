// Why layer norm over rows cannot learn in the network of the study, measured on its first steps.
#pragma once

#include <string>
#include <vector>

#include "evenkeel/nn/data.h"
#include "options.h"

namespace evenkeel::app {

/// What one step of training sees, before the weights change.
struct DiagnosisStep {
  double loss = 0;
  double max_abs_logit = 0;
  double max_abs_pooled = 0;           ///< of the means over each plane, which the last convolution reads
  std::vector<double> conv_gradients;  ///< L2 norms, one for each convolution's weight
};

struct Diagnosis {
  std::string network;      ///< "ln-row"
  std::string description;  ///< "layer norm over rows, as in the reference"
  std::vector<DiagnosisStep> steps;
};

/// Trains with the options of `run`, but for the norm, for the first `steps` steps: ln-row; ln-row with norms
/// before the ReLUs, and without the last one (moved); ln, ln-c and gn1, group norm with one group (widened).
std::vector<Diagnosis> diagnose_layer_norm(const RunOptions& run, const data::Dataset& train, int steps);

/// The largest value of a figure over the steps; NaN if one is.
double largest(const Diagnosis& diagnosis, double DiagnosisStep::*figure);
/// The median over the steps of the gradient of convolution k, counted from 0.
double median_gradient(const Diagnosis& diagnosis, std::size_t k);

}  // namespace evenkeel::app
