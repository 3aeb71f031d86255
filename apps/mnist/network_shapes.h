// The study's network, for 1x28x28 images and 10 classes: network.cpp makes its layers of this table, and
// one_kernel.cu, with constant shapes, a kernel that trains it.
#pragma once

#include "evenkeel/kernels/fused_block.h"

namespace evenkeel::mnist {

/// A convolution without padding or bias, and what follows it: ReLU and norm, pooling, dropout.
struct BlockShape {
  int C, size, K, R;        // of x [C, size, size]; K filters R x R
  bool activated = false;   // ReLU and norm follow
  bool norm_first = false;  // norm before ReLU, whichever norm it is; batch norm always comes first
  FusedPool pool = FusedPool::none;
  int window = 1;  // of the pooling
  bool dropout = false;

  EK_HOST_DEVICE constexpr int output() const { return size - R + 1; }
  EK_HOST_DEVICE constexpr int multiply_adds() const { return K * C * R * R * output() * output(); }
  EK_HOST_DEVICE constexpr bool is_norm_first(bool is_batch_norm) const {
    return norm_first || is_batch_norm;
  }
};

inline constexpr int kBlocks = 9, kClasses = 10;
inline constexpr double kDropout = 0.1;
inline constexpr BlockShape kNetwork[kBlocks] = {
    {1, 28, 4, 3, true},
    {4, 26, 8, 3, true},
    {8, 24, 16, 1, false, false, FusedPool::max, 2},
    {16, 12, 16, 3, true, false, FusedPool::none, 1, true},
    {16, 10, 16, 1},
    {16, 10, 16, 3, true, true, FusedPool::none, 1, true},
    {16, 8, 16, 3, true},
    {16, 6, 10, 3, true, false, FusedPool::average, 4},
    {10, 1, kClasses, 1},
};

}  // namespace evenkeel::mnist
