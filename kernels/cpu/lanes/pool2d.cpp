// Pooling of planes of vectors: element-wise in the lanes.
#include "kernels/pool2d.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool2d_window.h"

namespace evenkeel::cpu::lanes {
namespace {

/// One plane of y and of the taps. NaN wins, and the first of equal values.
template <typename T>
EK_SIMD void max_plane(Vec<T>* y, Vec<T>* tap, const Vec<T>* x, const Pool2dSizes& s) {
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) {
      const Window w(s, p, q);
      Vec<T> largest = x[w.h0 * s.W + w.w0], at = Vec<T>{} + static_cast<T>(w.tap(w.h0, w.w0));
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i) {
          const Vec<T> value = x[h * s.W + i];
          const auto wins = ~(value <= largest) & (largest == largest);
          largest = wins ? value : largest;
          at = wins ? Vec<T>{} + static_cast<T>(w.tap(h, i)) : at;
        }
      }
      y[p * s.Q + q] = largest;
      tap[p * s.Q + q] = at;
    }
  }
}

/// One plane of dx.
template <typename T>
EK_SIMD void max_plane_gradient(Vec<T>* dx, const Vec<T>* dy, const Vec<T>* tap, const Pool2dSizes& s) {
  const bool once = s.stride_h >= s.R && s.stride_w >= s.S;  // each input is in one window at most
  const bool covered = once && s.P * s.R == s.H && s.Q * s.S == s.W;
  if (!covered) std::fill_n(dx, s.H * s.W, Vec<T>{});
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) {
      const Window w(s, p, q);
      const Vec<T> grad = dy[p * s.Q + q], at = tap[p * s.Q + q];
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i) {
          const Vec<T> share = at == static_cast<T>(w.tap(h, i)) ? grad : Vec<T>{};
          Vec<T>& to = dx[h * s.W + i];
          to = once ? share : to + share;
        }
      }
    }
  }
}

/// One plane of y: scale * the sum of each window, added in f64.
template <typename T>
EK_SIMD void average_plane(Vec<T>* y, const Vec<T>* x, const Pool2dSizes& s, T scale) {
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) {
      const Window w(s, p, q);
      Doubles<T> total;
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i) total += Doubles<T>(x[h * s.W + i]);
      }
      y[p * s.Q + q] = total.rounded() * scale;
    }
  }
}

/// One plane of dx.
template <typename T>
EK_SIMD void average_plane_gradient(Vec<T>* dx, const Vec<T>* dy, const Pool2dSizes& s, T scale) {
  std::fill_n(dx, s.H * s.W, Vec<T>{});
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) {
      const Window w(s, p, q);
      const Vec<T> share = dy[p * s.Q + q] * scale;
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i) dx[h * s.W + i] += share;
      }
    }
  }
}

/// Calls f(plane, its first input, its first output) on all threads.
template <typename T, typename F>
void for_each_plane(const Pool2dSizes& s, F f) {
  parallel_for(s.planes, s.P * s.Q * s.R * s.S * kLanes<T>,
               [&](std::int64_t plane) { f(plane * s.H * s.W, plane * s.P * s.Q); });
}

template <typename T>
T window_share(const Pool2dSizes& s) {
  return T(1) / static_cast<T>(s.R * s.S);
}

}  // namespace

template <typename T>
void max_pool2d_forward(const MaxPool2dForwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](std::int64_t in, std::int64_t out) {
    max_plane<T>(as_lanes(a.y) + out, as_lanes(a.tap) + out, as_lanes(a.x) + in, a.sizes);
  });
}

template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](std::int64_t in, std::int64_t out) {
    max_plane_gradient<T>(as_lanes(a.dx) + in, as_lanes(a.dy) + out, as_lanes(a.tap) + out, a.sizes);
  });
}

template <typename T>
void avg_pool2d_forward(const AvgPool2dForwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](std::int64_t in, std::int64_t out) {
    average_plane<T>(as_lanes(a.y) + out, as_lanes(a.x) + in, a.sizes, window_share<T>(a.sizes));
  });
}

template <typename T>
void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](std::int64_t in, std::int64_t out) {
    average_plane_gradient<T>(as_lanes(a.dx) + in, as_lanes(a.dy) + out, a.sizes, window_share<T>(a.sizes));
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

}  // namespace evenkeel::cpu::lanes
