// Direct convolution of the images of a unit. One kernel, correlate(), serves forward and the gradient of the
// input, which is the correlation of dy, spread by the stride, with the flipped filters; weight_gradient() is
// the third.
#pragma once

#include "evenkeel/kernels/conv2d.h"
#include "evenkeel/kernels/cpu/lanes.h"

namespace evenkeel::cpu::EK_ISA {

/// One axis of a correlation: output o, tap t meets input (o * stride + t * dilation - pad) / spread, where
/// that is a whole number in [0, in).
struct Axis {
  std::int64_t in, out, taps, stride, dilation, pad, spread;

  /// The input that output o meets at tap t, or -1.
  std::int64_t input(std::int64_t o, std::int64_t t) const {
    const std::int64_t at = o * stride + t * dilation - pad;
    if (spread == 1) return at >= 0 && at < in ? at : -1;  // without a division
    return at >= 0 && at % spread == 0 && at / spread < in ? at / spread : -1;
  }
  /// True if neighbouring outputs and neighbouring taps meet neighbouring inputs.
  bool dense() const { return stride == 1 && dilation == 1 && spread == 1; }
};

/// y[k][p][q] = bias[k] + sum over c,r,s of w[k][c][r][s] * x[c][h.input(p, r)][w.input(q, s)], in each of
/// `groups` groups of C inputs and K outputs. Channels lie in_plane and out_plane apart, which is more than
/// their pixels where these are a band of rows.
struct Correlation {
  std::int64_t groups, C, K;
  Axis h, w;
  std::int64_t in_plane = h.in * w.in, out_plane = h.out * w.out;

  std::int64_t filter() const { return C * h.taps * w.taps; }
  std::int64_t weights() const { return groups * K * filter(); }
  /// True if an output meets the one input at its place.
  bool is_of_pixels() const {
    const auto plain = [](const Axis& a) { return a.taps == 1 && a.dense() && a.pad == 0 && a.in == a.out; };
    return plain(h) && plain(w);
  }
  /// `rows` rows of a convolution of pixels, in planes of the sizes given.
  Correlation band(std::int64_t rows, std::int64_t in_plane_, std::int64_t out_plane_) const {
    Correlation g = *this;
    g.h.in = g.h.out = rows;
    g.in_plane = in_plane_;
    g.out_plane = out_plane_;
    return g;
  }
};

/// Forward; its geometry is also that of the weight gradient.
Correlation forward_correlation(const Conv2dSizes& s);
/// dx from dy.
Correlation backward_correlation(const Conv2dSizes& s);

/// The weights [groups * K][C][R][S] of a convolution as correlate() reads them: those of a tile of outputs
/// lie together, [K tiles][C][R][S][outputs of a tile].
template <typename T>
void pack_weights(T* out, const T* w, const Correlation& g);
/// The same for backward_correlation(): outputs and inputs exchanged, and both axes of a filter reversed. `g`
/// is that of forward.
template <typename T>
void pack_flipped_weights(T* out, const T* w, const Correlation& g);

/// `w` is packed; bias [groups * K] or null.
template <typename T>
void correlate(Register<T>* y, const Register<T>* x, const T* w, const T* bias, const Correlation& g);

/// Convolution of pixels in one group: adds the gradient of each filter, in lanes, to sums [K][C].
template <typename T>
void add_pixel_weight_gradients(Register<T>* sums, const Register<T>* dy, const Register<T>* x,
                                const Correlation& g);

/// dw[k][c][r][s] = sum over the first `count` images and all pixels of dy[k][p][q] x[c][...].
template <typename T>
void weight_gradient(T* dw, const Register<T>* dy, const Register<T>* x, const Correlation& g,
                     std::int64_t count);

}  // namespace evenkeel::cpu::EK_ISA
