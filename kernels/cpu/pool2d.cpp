#include "evenkeel/kernels/pool2d.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/parallel.h"
#include "evenkeel/kernels/cpu/pool2d_window.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// Calls f(plane) on all threads.
template <typename F>
void for_each_plane(const Pool2dSizes& s, F f) {
  parallel_for(s.planes, pooling_cost(s), f);
}

/// Calls f(output offset in the plane, window) for every output pixel.
template <typename F>
void for_each_window(const Pool2dSizes& s, F f) {
  for (std::int64_t p = 0; p < s.P; ++p) {
    for (std::int64_t q = 0; q < s.Q; ++q) f(p * s.Q + q, Window(s, p, q));
  }
}

/// Takes the values x[0], x[STRIDE], ... with indices first, first+STRIDE, ... into n running maxima. No
/// branches: random data would mispredict them. Larger values win, and NaN, the last one; taking a value
/// twice changes nothing.
template <int STRIDE, typename T>
EK_INLINE void take_maxima(T* __restrict largest, std::int64_t* __restrict index, const T* __restrict x,
                           std::int64_t first, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = x[i * STRIDE];
    const bool wins = (value > largest[i]) | (value != value);
    largest[i] = wins ? value : largest[i];
    index[i] = wins ? first + i * STRIDE : index[i];
  }
}

/// One row of the output, a tap of the window at a time: neighbouring outputs in neighbouring lanes.
template <typename T>
void max_pool_row(T* y, std::int64_t* index, const T* x, const Pool2dSizes& s, std::int64_t p) {
  const Window rows(s, p, 0);
  // The taps that meet the plane in any window.
  const std::int64_t first_tap = std::max<std::int64_t>(0, s.pad_w - (s.Q - 1) * s.stride_w),
                     end_tap = std::min(s.S, s.W + s.pad_w);
  for (std::int64_t q = 0; q < s.Q; ++q) {
    index[q] =
        rows.h0 * s.W + std::max<std::int64_t>(q * s.stride_w - s.pad_w, 0);  // the window's first pixel
    y[q] = x[index[q]];
  }
  for (std::int64_t h = rows.h0; h < rows.h1; ++h) {
    for (std::int64_t tap = first_tap; tap < end_tap; ++tap) {
      // The outputs q whose column q * stride - pad + tap lies in the plane.
      const std::int64_t begin = std::max<std::int64_t>(0, (s.pad_w - tap + s.stride_w - 1) / s.stride_w);
      const std::int64_t room = s.W - 1 + s.pad_w - tap;
      const std::int64_t end = room < 0 ? 0 : std::min(s.Q, room / s.stride_w + 1);
      const std::int64_t first = h * s.W + begin * s.stride_w - s.pad_w + tap;
      switch (s.stride_w) {
        case 1:
          take_maxima<1>(y + begin, index + begin, x + first, first, end - begin);
          break;
        case 2:
          take_maxima<2>(y + begin, index + begin, x + first, first, end - begin);
          break;
        default:
          for (std::int64_t q = begin; q < end; ++q) {
            const std::int64_t at = first + (q - begin) * s.stride_w;
            take_maxima<1>(y + q, index + q, x + at, at, 1);
          }
      }
    }
  }
}

}  // namespace

template <typename T>
void max_pool2d_forward(const MaxPool2dForwardArgs<T>& a) {
  const Pool2dSizes& s = a.sizes;
  for_each_plane(s, [&](std::int64_t plane) {
    const T* x = a.x + plane * s.H * s.W;
    for (std::int64_t p = 0; p < s.P; ++p) {
      const std::int64_t at = (plane * s.P + p) * s.Q;
      max_pool_row(a.y + at, a.index + at, x, s, p);
    }
  });
}

template <typename T>
void max_pool2d_backward(const MaxPool2dBackwardArgs<T>& a) {
  const std::int64_t outputs = a.sizes.P * a.sizes.Q, inputs = a.sizes.H * a.sizes.W;
  for_each_plane(a.sizes, [&](std::int64_t plane) {
    T* dx = a.dx + plane * inputs;
    std::fill_n(dx, inputs, T(0));
    for (std::int64_t i = plane * outputs; i < (plane + 1) * outputs; ++i) dx[a.index[i]] += a.dy[i];
  });
}

template <typename T>
void avg_pool2d_forward(const AvgPool2dForwardArgs<T>& a) {
  const T window = static_cast<T>(a.sizes.R * a.sizes.S);
  for_each_plane(a.sizes, [&](std::int64_t plane) {
    const T* x = a.x + plane * a.sizes.H * a.sizes.W;
    T* y = a.y + plane * a.sizes.P * a.sizes.Q;
    for_each_window(a.sizes, [&](std::int64_t out, const Window& w) {
      double total = 0;
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = h * a.sizes.W + w.w0; i < h * a.sizes.W + w.w1; ++i)
          total += static_cast<double>(x[i]);
      }
      y[out] = static_cast<T>(total) / window;
    });
  });
}

template <typename T>
void avg_pool2d_backward(const AvgPool2dBackwardArgs<T>& a) {
  const std::int64_t inputs = a.sizes.H * a.sizes.W;
  const T window = static_cast<T>(a.sizes.R * a.sizes.S);
  for_each_plane(a.sizes, [&](std::int64_t plane) {
    T* dx = a.dx + plane * inputs;
    const T* dy = a.dy + plane * a.sizes.P * a.sizes.Q;
    std::fill_n(dx, inputs, T(0));
    for_each_window(a.sizes, [&](std::int64_t out, const Window& w) {
      for (std::int64_t h = w.h0; h < w.h1; ++h) {
        for (std::int64_t i = h * a.sizes.W + w.w0; i < h * a.sizes.W + w.w1; ++i) dx[i] += dy[out] / window;
      }
    });
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

}  // namespace evenkeel::cpu::EK_ISA
