#include "diagnosis.h"

#include <algorithm>
#include <cmath>

#include "evaluation.h"
#include "evenkeel/core/autograd.h"
#include "evenkeel/core/ops.h"
#include "evenkeel/core/random.h"
#include "evenkeel/nn/functional.h"
#include "evenkeel/nn/layers.h"
#include "program.h"
#include "statistics.h"

namespace evenkeel::app {
namespace {

using mnist::Norm;

/// Where norms stand. before_relu: before it in every block. not_last: as in the recipe, but none in the last
/// block, whose planes are averaged.
enum class NormPlace { recipe, before_relu, not_last };

struct Variant {
  const char *name, *description;
  Norm norm;
  std::int64_t groups = 1;
  NormPlace place = NormPlace::recipe;
};
constexpr Variant kVariants[] = {{"ln-row", "layer norm over rows, as the reference has it", Norm::ln_row},
                                 {"ln-row-moved", "moved: layer norm over rows, before each ReLU",
                                  Norm::ln_row, 1, NormPlace::before_relu},
                                 {"ln-row-not-last", "moved: layer norm over rows, none before the pooling",
                                  Norm::ln_row, 1, NormPlace::not_last},
                                 {"ln", "widened: layer norm over (C,H,W)", Norm::ln},
                                 {"ln-c", "widened: layer norm over C at each pixel", Norm::ln_c},
                                 {"gn1", "widened: group norm with one group", Norm::gn, 1}};

mnist::BlockNorms norms_of(const Variant& variant) {
  mnist::BlockNorms norms = mnist::norms_of_recipe(variant.norm);
  mnist::BlockNorm* last = nullptr;
  for (int i = 0; i < mnist::kBlocks; ++i) {
    if (!mnist::kNetwork[i].activated) continue;
    last = &norms[i];
    if (variant.place == NormPlace::before_relu) last->before_relu = true;
  }
  if (variant.place == NormPlace::not_last) last->norm = Norm::none;
  return norms;
}

double max_abs(const Tensor& x) {
  const NoGrad guard;
  return max(abs(x.detach())).item();
}

/// net(images), noting the input and the output of the last convolution.
Tensor forward(nn::Sequential& net, Tensor x, DiagnosisStep& step) {
  for (std::size_t i = 0; i < net.size(); ++i) {
    x = net[i](x);
    if (dynamic_cast<const nn::AvgPool2d*>(&net[i]) != nullptr) step.max_abs_pooled = max_abs(x);
    if (dynamic_cast<const nn::Conv2d*>(&net[i]) != nullptr) step.max_abs_logit = max_abs(x);
  }
  return x;
}

std::vector<double> conv_gradients(const nn::Module& net) {
  std::vector<double> norms;
  for (const Tensor& p : net.parameters()) {
    if (p.rank() != 4) continue;
    double squares = 0;
    for (const float g : p.grad().to_vector<float>()) squares += static_cast<double>(g) * g;
    norms.push_back(std::sqrt(squares));
  }
  return norms;
}

}  // namespace

std::vector<Diagnosis> diagnose_layer_norm(const RunOptions& o, const data::Dataset& train, int steps) {
  const data::Batches batches =
      train.batches({.size = o.batch_size, .seed = o.seed, .rotate = o.rotate, .device = o.device});
  const std::int64_t count = std::min<std::int64_t>(steps, batches.count());
  std::vector<Diagnosis> all;
  for (const Variant& variant : kVariants) {
    Generator generator(o.seed);
    nn::Sequential net = mnist::network(norms_of(variant), variant.groups, &generator);
    net.to(o.device);
    optim::SGD sgd(net.parameters(), {.lr = o.sgd.lr, .momentum = o.sgd.momentum});
    all.push_back({variant.name, variant.description, {}});
    Diagnosis& d = all.back();
    for (std::int64_t i = 0; i < count; ++i) {
      const auto [images, labels] = batches.get(i);
      DiagnosisStep& step = d.steps.emplace_back();
      sgd.zero_grad();
      const Tensor loss = nll_loss(forward(net, images, step), labels);
      loss.backward();
      step.loss = loss.item();
      step.conv_gradients = conv_gradients(net);
      sgd.step();
      stop_if_signalled("during the diagnosis of layer norm");
    }
  }
  return all;
}

double largest(const Diagnosis& diagnosis, double DiagnosisStep::*figure) {
  double most = 0;
  for (const DiagnosisStep& step : diagnosis.steps) {
    const double value = step.*figure;
    if (std::isnan(value)) return value;
    most = std::max(most, value);
  }
  return most;
}

double median_gradient(const Diagnosis& diagnosis, std::size_t k) {
  std::vector<double> norms;
  for (const DiagnosisStep& step : diagnosis.steps) norms.push_back(step.conv_gradients[k]);
  return median(norms);
}

}  // namespace evenkeel::app
