// The network of the study.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "evenkeel/apps/mnist/network_shapes.h"
#include "evenkeel/nn/module.h"

namespace evenkeel::mnist {

/// bn: batch norm. gn: group norm. ln: layer norm over (C,H,W), affine per element. ln_row: layer norm over
/// each row W, no affine. ln_c: layer norm over C at each pixel. in: instance norm. none: no normalization.
enum class Norm { bn, gn, ln, ln_row, ln_c, in, none };

/// Two of them cannot learn in this network, whose last norm is followed by the mean over each plane: with
/// ln_row that mean is 0, with in it is the bias, whatever the image.
inline bool can_learn(Norm norm) { return norm != Norm::ln_row && norm != Norm::in; }

/// Reads "bn", "gn", "ln", "ln-row", "ln-c", "in" or "none". Throws Error, listing them, on anything else.
Norm parse_norm(std::string_view name);
std::string_view name_of(Norm norm);
const std::vector<std::string_view>& norm_names();

/// Nine convolutions without biases for 1x28x28 images and 10 classes, 9,160 convolution weights; the output
/// is log-softmax [N, 10]. `groups` is for gn; throws Error unless it divides the channels of every
/// normalised layer (4, 8, 16, 10). The names of its tensors are those of the same nn.Sequential in PyTorch.
/// The initial weights and the dropout masks come from `generator`, which must live as long as the network,
/// or from default_generator() if it is null.
nn::Sequential network(Norm norm, std::int64_t groups = 2, Generator* generator = nullptr);

/// The norm of a block that has one, and whether it stands before the block's ReLU or after it.
struct BlockNorm {
  Norm norm = Norm::none;
  bool before_relu = false;
};
/// One a block; blocks that are not activated have none.
using BlockNorms = std::array<BlockNorm, kBlocks>;

/// The norms of network(norm): before the ReLU for batch norm, after it for the others, except in the sixth
/// block, where all come before it.
BlockNorms norms_of_recipe(Norm norm);
/// The same convolutions with other norms.
nn::Sequential network(const BlockNorms& norms, std::int64_t groups, Generator* generator = nullptr);

}  // namespace evenkeel::mnist
