// Pooling of planes of vectors: element-wise in the lanes.
#include "kernels/pool2d.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool2d_window.h"

namespace evenkeel::cpu::lanes {
namespace {

/// Takes the value of tap number `tap` into the running maximum of each lane. NaN wins, and the first of
/// equal values.
template <typename T>
EK_INLINE void take_maximum(T* __restrict largest, T* __restrict at, const T* __restrict value, T tap) {
  EK_LANE_LOOP
  for (int l = 0; l < kLanes<T>; ++l) {
    const bool wins = !(value[l] <= largest[l]) & (largest[l] == largest[l]);
    largest[l] = wins ? value[l] : largest[l];
    at[l] = wins ? tap : at[l];
  }
}

/// One plane of y and of the taps.
template <typename T>
EK_SIMD void max_plane(T* y, T* taps, const T* x, const Pool2dSizes& s) {
  constexpr int L = kLanes<T>;
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q, y += L, taps += L) {
      const Window w(s, p, q);
      std::memcpy(y, x + (w.h0 * s.W + w.w0) * L, L * sizeof(T));
      const T first = static_cast<T>(w.tap(w.h0, w.w0));
      for (int l = 0; l < L; ++l) taps[l] = first;
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i)
          take_maximum(y, taps, x + (h * s.W + i) * L, static_cast<T>(w.tap(h, i)));
      }
    }
  }
}

/// dx = dy in the lanes whose maximum is tap number `tap`, else 0; added where ADD.
template <bool ADD, typename T>
EK_INLINE void give_gradient(T* __restrict dx, const T* __restrict dy, const T* __restrict at, T tap) {
  EK_LANE_LOOP
  for (int l = 0; l < kLanes<T>; ++l) {
    const T share = at[l] == tap ? dy[l] : T(0);
    dx[l] = ADD ? dx[l] + share : share;
  }
}

/// One plane of dx.
template <typename T>
EK_SIMD void max_plane_gradient(T* dx, const T* dy, const T* taps, const Pool2dSizes& s) {
  constexpr int L = kLanes<T>;
  const bool once = s.stride_h >= s.R && s.stride_w >= s.S;  // each input is in one window at most
  const bool covered = once && s.P * s.R == s.H && s.Q * s.S == s.W;
  if (!covered) std::fill_n(dx, s.H * s.W * L, T(0));
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q, dy += L, taps += L) {
      const Window w(s, p, q);
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = w.w0; i < w.w1; ++i) {
          T* to = dx + (h * s.W + i) * L;
          const T tap = static_cast<T>(w.tap(h, i));
          if (once) {
            give_gradient<false>(to, dy, taps, tap);
          } else {
            give_gradient<true>(to, dy, taps, tap);
          }
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
    max_plane(a.y + out * kLanes<T>, a.tap + out * kLanes<T>, a.x + in * kLanes<T>, a.sizes);
  });
}

template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& a) {
  for_each_plane<T>(a.sizes, [&](std::int64_t in, std::int64_t out) {
    max_plane_gradient(a.dx + in * kLanes<T>, a.dy + out * kLanes<T>, a.tap + out * kLanes<T>, a.sizes);
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
