#include "cross_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace evenkeel::app {
namespace {

/// The mean of -log p(label); NaN where a probability is too small for its six digits to tell.
double loss_of(const std::vector<Prediction>& predictions) {
  constexpr double kSmallest = 1e-30;
  double sum = 0;
  for (const Prediction& p : predictions) {
    if (!(p.p_label > kSmallest)) return std::numeric_limits<double>::quiet_NaN();
    sum -= std::log(p.p_label);
  }
  return sum / static_cast<double>(predictions.size());
}

void check(const RunResult& r, const char* file, const char* figure, double given, double found,
           double tolerance) {
  if (std::abs(given - found) <= tolerance * std::max(1.0, std::abs(found))) return;
  fail<DataError>("{} gives {} of {:.6g}, {} says {:.6g}: remove {}, so that the run is repeated",
                  (r.run.out / file).string(), figure, found, (r.run.out / "metrics.jsonl").string(), given,
                  r.run.out.string());
}

}  // namespace

void cross_check(const RunResult& r) {
  const Metrics& last = r.rows.back();
  const auto images = static_cast<double>(r.predictions.size());
  check(r, "predictions.csv", "an accuracy", last.accuracy,
        1 - static_cast<double>(r.misclassified()) / images, 0.1 / images);
  const double loss = loss_of(r.predictions);
  if (!std::isnan(loss)) check(r, "predictions.csv", "a loss", last.loss, loss, 1e-5);
  double l1 = 0;
  std::int64_t count = 0, zero = 0;
  for (const ParameterCounts& c : r.parameters) {
    l1 += c.l1;
    count += c.count;
    zero += c.zero;
  }
  check(r, "model.safetensors", "a sum |p|", last.l1, l1, 1e-9);
  check(r, "model.safetensors", "a part of zeros", last.sparsity,
        static_cast<double>(zero) / static_cast<double>(count), 1e-9);
}

}  // namespace evenkeel::app
