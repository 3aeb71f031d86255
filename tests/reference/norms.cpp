#include "reference/norms.h"

#include <cmath>

namespace reference {
namespace {

Index product(const Sizes& sizes, std::size_t first, std::size_t last) {
  Index n = 1;
  for (std::size_t i = first; i < last; ++i) n *= sizes[i];
  return n;
}

/// Walks x [N, C, S] in row-major order; set(n, c, s) names the set; the parameter is c.
template <typename SetOf>
Partition by_channel(const Sizes& shape, Index sets, const SetOf& set_of) {
  const Index N = shape[0], C = shape[1], S = product(shape, 2, shape.size());
  Partition partition;
  partition.sets = sets;
  partition.parameters = C;
  for (Index n = 0; n < N; ++n)
    for (Index c = 0; c < C; ++c)
      for (Index s = 0; s < S; ++s) {
        partition.set.push_back(set_of(n, c, s));
        partition.parameter.push_back(c);
      }
  return partition;
}

}  // namespace

Partition batch_norm_partition(const Sizes& shape) {
  return by_channel(shape, shape[1], [](Index, Index c, Index) { return c; });
}

Partition group_norm_partition(const Sizes& shape, Index groups) {
  const Index channels_per_group = shape[1] / groups;
  return by_channel(shape, shape[0] * groups,
                    [=](Index n, Index c, Index) { return n * groups + c / channels_per_group; });
}

Partition layer_norm2d_partition(const Sizes& shape) {
  const Index S = product(shape, 2, shape.size());
  return by_channel(shape, shape[0] * S, [=](Index n, Index, Index s) { return n * S + s; });
}

Partition layer_norm_partition(const Sizes& shape, int normalized_axes) {
  const std::size_t split = shape.size() - static_cast<std::size_t>(normalized_axes);
  Partition partition;
  partition.sets = product(shape, 0, split);
  partition.parameters = product(shape, split, shape.size());
  for (Index m = 0; m < partition.sets; ++m)
    for (Index d = 0; d < partition.parameters; ++d) {
      partition.set.push_back(m);
      partition.parameter.push_back(d);
    }
  return partition;
}

Statistics statistics(const Array& x, const Partition& partition, bool centred) {
  // In 80 bits, so that results in f64 can be checked to the last place of the mean.
  using Wide = Eigen::Array<long double, Eigen::Dynamic, 1>;
  const Wide zero = Wide::Zero(partition.sets);
  Wide mean = zero, var = zero, count = zero;
  const auto set_of = [&](Index i) { return partition.set[static_cast<std::size_t>(i)]; };
  for (Index i = 0; i < x.numel(); ++i) {
    mean[set_of(i)] += x.values[i];
    count[set_of(i)] += 1;
  }
  mean /= count;
  if (!centred) mean = zero;
  for (Index i = 0; i < x.numel(); ++i) {
    const long double deviation = x.values[i] - mean[set_of(i)];
    var[set_of(i)] += deviation * deviation;
  }
  return {mean.cast<double>(), (var / count).cast<double>(), count.cast<double>()};
}

Array normalize(const Array& x, const Partition& partition, const Statistics& stats, const Array& gamma,
                const Array& beta, double eps) {
  Array y(x.shape);
  for (Index i = 0; i < x.numel(); ++i) {
    const Index s = partition.set[static_cast<std::size_t>(i)];
    const Index p = partition.parameter[static_cast<std::size_t>(i)];
    y.values[i] =
        gamma.values[p] * (x.values[i] - stats.mean[s]) / std::sqrt(stats.var[s] + eps) + beta.values[p];
  }
  return y;
}

NormGradients normalize_backward_fixed(const Array& dy, const Array& x, const Partition& partition,
                                       const Statistics& stats, const Array& gamma, double eps) {
  NormGradients gradients{Array(x.shape), Array(gamma.shape), Array(gamma.shape)};
  for (Index i = 0; i < x.numel(); ++i) {
    const Index s = partition.set[static_cast<std::size_t>(i)];
    const Index p = partition.parameter[static_cast<std::size_t>(i)];
    const double std = std::sqrt(stats.var[s] + eps);
    gradients.dx.values[i] = dy.values[i] * gamma.values[p] / std;
    gradients.dgamma.values[p] += dy.values[i] * (x.values[i] - stats.mean[s]) / std;
    gradients.dbeta.values[p] += dy.values[i];
  }
  return gradients;
}

NormGradients normalize_backward(const Array& dy, const Array& x, const Partition& partition,
                                 const Array& gamma, double eps, bool centred) {
  const Statistics stats = statistics(x, partition, centred);
  NormGradients gradients = normalize_backward_fixed(dy, x, partition, stats, gamma, eps);
  const auto set_of = [&](Index i) { return partition.set[static_cast<std::size_t>(i)]; };
  const auto dxhat = [&](Index i) {
    return dy.values[i] * gamma.values[partition.parameter[static_cast<std::size_t>(i)]];
  };
  Eigen::ArrayXd dvar = Eigen::ArrayXd::Zero(partition.sets);
  Eigen::ArrayXd dmean = dvar, sum_of_deviations = dvar;
  for (Index i = 0; i < x.numel(); ++i) {
    const Index s = set_of(i);
    const double deviation = x.values[i] - stats.mean[s];
    dvar[s] += dxhat(i) * deviation * -0.5 * std::pow(stats.var[s] + eps, -1.5);
    dmean[s] += -dxhat(i) / std::sqrt(stats.var[s] + eps);
    sum_of_deviations[s] += deviation;
  }
  dmean += dvar * -2 * sum_of_deviations / stats.count;
  if (!centred) dmean.setZero();
  for (Index i = 0; i < x.numel(); ++i) {
    const Index s = set_of(i);
    gradients.dx.values[i] += dvar[s] * 2 * (x.values[i] - stats.mean[s]) / stats.count[s];
    gradients.dx.values[i] += dmean[s] / stats.count[s];
  }
  return gradients;
}

Array running_average(const Array& running, const Eigen::ArrayXd& batch, double momentum) {
  Array result = running;
  result.values = (1 - momentum) * running.values + momentum * batch;
  return result;
}

Eigen::ArrayXd unbiased(const Statistics& stats) { return stats.var * stats.count / (stats.count - 1); }

}  // namespace reference
