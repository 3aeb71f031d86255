// Convolution as matrix products (gemm.h), for any sizes, on plain NCHW. No matrix of patches is formed: the
// rows of im2col(x) are runs of a padded copy of x, and the product reads them there.
#pragma once

#include <algorithm>

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/cpu/gemm.h"

namespace evenkeel::cpu::EK_ISA::gemm {

template <typename T>
void conv2d_forward(const Conv2dForwardArgs<T>& args);
template <typename T>
void conv2d_backward_input(const Conv2dBackwardInputArgs<T>& args);
template <typename T>
void conv2d_backward_weight(const Conv2dBackwardWeightArgs<T>& args);

/// Images and rows of y in parts that depend on sizes alone: all rows of `images` images, or `rows` rows of
/// one.
struct Parts {
  std::int64_t images, rows, image_parts, row_parts;

  /// About `most` elements each of a copy in which an image has P rows of `row` elements and `more_rows`
  /// others.
  Parts(std::int64_t N, std::int64_t P, std::int64_t row, std::int64_t more_rows, std::int64_t most) {
    const std::int64_t fit = std::max<std::int64_t>(1, most / std::max<std::int64_t>(1, row));
    row_parts = std::max<std::int64_t>(1, ceil_div(P, fit));
    rows = ceil_div(P, row_parts);
    images = row_parts > 1 ? 1
                           : std::clamp<std::int64_t>(fit / std::max<std::int64_t>(1, P + more_rows), 1,
                                                      std::max<std::int64_t>(1, N));
    image_parts = ceil_div(N, images);
  }
  std::int64_t count() const { return image_parts * row_parts; }
};

/// Part number `index`.
struct Part {
  std::int64_t first_image, images, first_row, rows;

  Part(const Parts& all, std::int64_t index, std::int64_t N, std::int64_t P) {
    first_image = index / all.row_parts * all.images;
    images = std::min(all.images, N - first_image);
    first_row = index % all.row_parts * all.rows;
    rows = std::min(all.rows, P - first_row);
  }
};

}  // namespace evenkeel::cpu::EK_ISA::gemm
