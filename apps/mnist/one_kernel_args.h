// Training of the study's network (network_shapes.h) in one kernel: a grid group has a network of its own
// and runs many steps of it, each block on images of its own. CUDA only.
#pragma once

#include "evenkeel/apps/mnist/network_shapes.h"
#include "evenkeel/kernels/fused_block.h"
#include "evenkeel/kernels/sgd.h"

namespace evenkeel::mnist {

/// What SGD needs of a parameter besides its value; all of it is 0 if there is none. Zero all of it first:
/// kernels have it in shared memory, which knows no initial values.
template <typename T>
struct SgdPointers {
  T* velocity;  // the momentum buffer, or null
  int begin;    // of its gradient among those of the network
  int count;
};

/// The parameters and buffers of a block of the network.
template <typename T>
struct BlockPointers {
  FusedBlockPointers<T, T> pointers;
  SgdPointers<T> weight, gamma, beta;
};

/// A network, its data and its rule. Batch b has the images order[b batch] ... of an epoch of `images`
/// images, fewer in the last one; the loss is the mean over a batch.
template <typename T>
struct TrainingPointers {
  BlockPointers<T> blocks[kBlocks];
  int parameters;  // elements of all of them

  NormPartition norm;
  int groups;       // of group norm; 0: one a channel
  bool whole_rows;  // rows: a set is all of an image's [C, H, W], else a row [W]

  const std::uint8_t* images;  // [count, 28, 28]
  const std::int64_t* labels;  // [count]
  const std::int64_t* order;   // [images]
  const float* angles;         // [count], radians, or null: as in kernels/rotate.h
  double mean, std;
  std::int64_t epoch_images, batch;

  std::uint64_t seed;  // of dropout, whose keys are draws, draws + 1, ... in the order of use
  std::uint64_t draws;

  SgdRule rule;

  double* totals;  // [2], of the epoch: the sum of losses, and how many were right
  T* loss;         // the mean loss of the last batch
};

/// Steps first_step ... first_step + steps - 1 of the epoch, of `count` networks that share norm, groups and
/// whole_rows, each by a grid group of `blocks` blocks; scratch: one_kernel_scratch() bytes. In clusters of
/// two blocks, which share an image, a batch has at most blocks / 2 images.
template <typename T>
struct OneKernelArgs {
  const TrainingPointers<T>* networks;  // an array on the host
  void* scratch;
  int count, blocks, cluster;
  std::int64_t first_step, steps;
};
template <typename T>
void train_in_one_kernel(const OneKernelArgs<T>& args, Stream stream);
/// The bytes of scratch memory that it needs.
template <typename T>
std::int64_t one_kernel_scratch(const OneKernelArgs<T>& args);
/// The bytes of shared memory that a block needs, static ones included.
template <typename T>
std::int64_t one_kernel_shared(NormPartition norm);
/// How many clusters of such a launch the device can hold at once; 0: it has none.
template <typename T>
int one_kernel_clusters(const OneKernelArgs<T>& args);

}  // namespace evenkeel::mnist
