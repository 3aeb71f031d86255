// Pooling of planes of vectors: element-wise in the lanes.
#include "evenkeel/kernels/pool2d.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/lanes/statistics.h"
#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/pool2d_window.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

/// Calls f(window, q's place in a plane of y) for every window.
template <typename F>
EK_INLINE void for_each_window(const Pool2dSizes& s, F f) {
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) f(Window(s, p, q), p * s.Q + q);
  }
}

/// The running maximum of a window, and its tap: the first of equal values, and the last NaN.
template <typename T>
struct Maximum {
  Register<T> largest, tap;
  EK_INLINE void take(const Register<T>& value, T number) {
    const auto wins = (value > largest) | (value != value);
    largest = wins ? value : largest;
    tap = wins ? Register<T>{} + number : tap;
  }
};

/// One plane of y and of the taps.
template <typename T>
void max_plane(Column<T> y, Column<T> taps, Column<const T> x, const Pool2dSizes& s) {
  for_each_window(s, [&](const Window& w, std::int64_t out) EK_INLINE_LAMBDA {
    Maximum<T> m{x[w.h0 * s.W + w.w0], Register<T>{} + static_cast<T>(w.tap(w.h0, w.w0))};
    for (std::int64_t h = w.h0; h < w.h1; ++h) {
      for (std::int64_t i = w.w0; i < w.w1; ++i) m.take(x[h * s.W + i], static_cast<T>(w.tap(h, i)));
    }
    y[out] = m.largest;
    taps[out] = m.tap;
  });
}

/// Likewise, for windows of 2 x 2 inside the plane: the most frequent ones, without loops over taps.
template <typename T>
void max_plane_2x2(Column<T> y, Column<T> taps, Column<const T> x, const Pool2dSizes& s) {
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) {
      const Column<const T> top = x + (p * s.stride_h * s.W + q * s.stride_w), bottom = top + s.W;
      Maximum<T> m{top[0], Register<T>{}};
      m.take(top[1], 1);
      m.take(bottom[0], 2);
      m.take(bottom[1], 3);
      y[p * s.Q + q] = m.largest;
      taps[p * s.Q + q] = m.tap;
    }
  }
}

/// One plane of dx: dy in the lanes whose maximum is the tap that meets it, else 0; added up where windows
/// overlap.
template <bool OVERLAP, typename T>
void max_plane_gradient(Column<T> dx, Column<const T> dy, Column<const T> taps, const Pool2dSizes& s) {
  // Windows of a padded plane reach past it, so that their sizes add up to more of it than they cover.
  const bool covered = !OVERLAP && s.pad_h == 0 && s.pad_w == 0 && s.P * s.R == s.H && s.Q * s.S == s.W;
  for (std::int64_t i = 0; !covered && i < s.H * s.W; ++i) dx[i] = Register<T>{};
  for_each_window(s, [&](const Window& w, std::int64_t out) EK_INLINE_LAMBDA {
    const Register<T> gradient = dy[out], at = taps[out];
    for (std::int64_t h = w.h0; h < w.h1; ++h) {
      for (std::int64_t i = w.w0; i < w.w1; ++i) {
        const Register<T> share = at == static_cast<T>(w.tap(h, i)) ? gradient : Register<T>{};
        dx[h * s.W + i] = OVERLAP ? dx[h * s.W + i] + share : share;
      }
    }
  });
}

/// One plane of y: the sum of each window, added in f64, divided by the size of a whole one.
template <typename T>
void average_plane(Column<T> y, Column<const T> x, const Pool2dSizes& s) {
  const T window = static_cast<T>(s.R * s.S);
  for_each_window(s, [&](const Window& w, std::int64_t out) EK_INLINE_LAMBDA {
    Doubles<T> total;
    for (std::int64_t h = w.h0; h < w.h1; ++h) {
      for (std::int64_t i = w.w0; i < w.w1; ++i) total += Doubles<T>(x[h * s.W + i]);
    }
    y[out] = total.rounded() / window;
  });
}

/// One plane of dx.
template <typename T>
void average_plane_gradient(Column<T> dx, Column<const T> dy, const Pool2dSizes& s) {
  const T window = static_cast<T>(s.R * s.S);
  for (std::int64_t i = 0; i < s.H * s.W; ++i) dx[i] = Register<T>{};
  for_each_window(s, [&](const Window& w, std::int64_t out) EK_INLINE_LAMBDA {
    const Register<T> share = dy[out] / window;
    for (std::int64_t h = w.h0; h < w.h1; ++h) {
      for (std::int64_t i = w.w0; i < w.w1; ++i) dx[h * s.W + i] += share;
    }
  });
}

/// Calls f(part, its first input, its first output) for each register of each plane, on all threads.
template <typename T, typename F>
void for_each_plane(const Pool2dSizes& s, F f) {
  parallel_for(s.planes, pooling_cost(s) * kLanes<T>, [&](std::int64_t plane) {
    for (int part = 0; part < kParts; ++part) f(part, plane * s.H * s.W, plane * s.P * s.Q);
  });
}

}  // namespace

template <typename T>
void max_pool2d_forward(const MaxPool2dForwardArgs<T>& a) {
  const Pool2dSizes& s = a.sizes;
  const bool is_2x2 = s.R == 2 && s.S == 2 && s.pad_h == 0 && s.pad_w == 0;
  const auto of_plane = is_2x2 ? max_plane_2x2<T> : max_plane<T>;
  for_each_plane<T>(s, [&](int part, std::int64_t in, std::int64_t out) {
    of_plane(column(a.y, part) + out, column(a.tap, part) + out, column(a.x, part) + in, a.sizes);
  });
}

template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& a) {
  const bool overlap = a.sizes.stride_h < a.sizes.R || a.sizes.stride_w < a.sizes.S;
  const auto gradient = overlap ? max_plane_gradient<true, T> : max_plane_gradient<false, T>;
  for_each_plane<T>(a.sizes, [&](int part, std::int64_t in, std::int64_t out) {
    gradient(column(a.dx, part) + in, column(a.dy, part) + out, column(a.tap, part) + out, a.sizes);
  });
}

template <typename T>
void avg_pool2d_forward(const AvgPool2dForwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](int part, std::int64_t in, std::int64_t out) {
    average_plane<T>(column(a.y, part) + out, column(a.x, part) + in, a.sizes);
  });
}

template <typename T>
void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](int part, std::int64_t in, std::int64_t out) {
    average_plane_gradient<T>(column(a.dx, part) + in, column(a.dy, part) + out, a.sizes);
  });
}

#define EK_INSTANTIATE(T)                                             \
  template void max_pool2d_forward(const MaxPool2dForwardArgs<T>&);   \
  template void max_pool2d_backward(const MaxPool2dBackwardArgs<T>&); \
  template void avg_pool2d_forward(const AvgPool2dForwardArgs<T>&);   \
  template void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>&);
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cpu::EK_ISA::lanes
