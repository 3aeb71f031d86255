// The ops of the table, and the shapes that they have in the MNIST network of apps/mnist/network.cpp with
// batches of 64.
#pragma once

#include "bench/row.h"
#include "evenkeel/kernels/conv2d.h"

namespace evenkeel::bench {

/// Mean and deviation of MNIST's pixels, from 0 to 1.
constexpr double kMean = 0.1307, kStd = 0.3081;

inline constexpr std::int64_t kBatch = 64;

/// The shapes at which the network has a norm and a ReLU.
inline const std::vector<Shape> kBlockShapes{{kBatch, 4, 26, 26}, {kBatch, 8, 24, 24}, {kBatch, 16, 10, 10},
                                             {kBatch, 16, 8, 8},  {kBatch, 16, 6, 6},  {kBatch, 10, 4, 4}};
/// Shapes far larger than a cache.
inline const Shape kLargeShape{64, 64, 56, 56};
inline const Shape kLargeRows{8192, 1024};

Op conv2d_op();
/// The sizes of a row of conv2d, from its shape and parameters.
Conv2dSizes conv2d_sizes(const Row& row);
/// batch_norm, group_norm, layer_norm, layer_norm2d.
std::vector<Op> norm_ops();
/// max_pool2d, avg_pool2d.
std::vector<Op> pool_ops();
/// relu, dropout.
std::vector<Op> elementwise_ops();
/// What a training step has besides layers: rotate_normalize, log_softmax_nll, sgd.
std::vector<Op> step_ops();
/// train_step: a whole one, for each norm.
Op train_op();

/// The listed shapes of an op, each with what `at` makes of it.
inline std::vector<Row> rows_at(const Op& op, const Kind& kind, const std::vector<Shape>& shapes) {
  std::vector<Row> rows;
  for (const Shape& shape : shapes) {
    for (Row& row : op.at(kind, shape)) rows.push_back(std::move(row));
  }
  return rows;
}
/// An op whose listed rows are those at `shapes`.
inline Op op_at(std::string name, std::vector<Shape> shapes, decltype(Op::at) at) {
  Op op{std::move(name), {}, std::move(at)};
  op.listed = [shapes = std::move(shapes), only_at = Op{{}, {}, op.at}](const Kind& kind) {
    return rows_at(only_at, kind, shapes);
  };
  return op;
}

/// `shapes` and then `more`.
inline std::vector<Shape> with(std::vector<Shape> shapes, std::initializer_list<Shape> more) {
  shapes.insert(shapes.end(), more);
  return shapes;
}

}  // namespace evenkeel::bench
