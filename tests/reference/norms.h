// Every normalization, as one formula: elements that share statistics form a set; elements that share gamma
// and beta have the same parameter.
//
//   y_i = gamma_p(i) (x_i - mean_s(i)) / sqrt(var_s(i) + eps) + beta_p(i)
//
// with the mean and the biased variance of the set.
#pragma once

#include "reference/array.h"

namespace reference {

/// For each element, in row-major order, the set and the parameter that it belongs to.
struct Partition {
  std::vector<Index> set, parameter;
  Index sets = 0, parameters = 0;
};

/// x [N, C, ...]: one set for each channel, one for each group of C/groups channels of an image, or one for
/// each pixel of an image; a parameter for each channel.
Partition batch_norm_partition(const Sizes& shape);
Partition group_norm_partition(const Sizes& shape, Index groups);
Partition layer_norm2d_partition(const Sizes& shape);
/// One set for each index of all but the last `normalized_axes`; a parameter for each index of those.
Partition layer_norm_partition(const Sizes& shape, int normalized_axes);

struct Statistics {
  Eigen::ArrayXd mean, var;  // of each set; var is biased
  Eigen::ArrayXd count;      // elements of each set
};
/// Not centred, as RMS norm has it: means of 0, and variances about 0.
Statistics statistics(const Array& x, const Partition& partition, bool centred = true);

/// gamma and beta are [parameters].
Array normalize(const Array& x, const Partition& partition, const Statistics& stats, const Array& gamma,
                const Array& beta, double eps);

struct NormGradients {
  Array dx, dgamma, dbeta;
};
/// The gradients where mean and variance are functions of x (equations of section 3 of Ioffe and Szegedy,
/// 2015).
NormGradients normalize_backward(const Array& dy, const Array& x, const Partition& partition,
                                 const Array& gamma, double eps, bool centred = true);
/// The gradients where mean and variance are constants, as in batch norm's evaluation mode.
NormGradients normalize_backward_fixed(const Array& dy, const Array& x, const Partition& partition,
                                       const Statistics& stats, const Array& gamma, double eps);

/// (1 - momentum) running + momentum batch.
Array running_average(const Array& running, const Eigen::ArrayXd& batch, double momentum);
/// The variance with n - 1 in place of n.
Eigen::ArrayXd unbiased(const Statistics& stats);

}  // namespace reference
