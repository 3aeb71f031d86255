#include "kernels/layer_norm.h"

#include <algorithm>

#include "kernels/cpu/lanes/ops.h"
#include "kernels/cpu/lanes/statistics.h"
#include "kernels/cpu/parallel.h"

namespace evenkeel::cpu::lanes {
namespace {

/// Row `i` of [blocks, rows of an image]: D vectors.
template <typename T>
EK_SIMD void normalize_row(const LayerNormForwardArgs<T>& a, std::int64_t i) {
  const Vec<T>* x = as_lanes(a.x) + i * a.D;
  Vec<T>* y = as_lanes(a.y) + i * a.D;
  const LaneMoments<T> m = lane_moments<T>(x, a.D, a.relu);
  const LaneSplitMean<T> mean(m.mean);
  const Vec<T> scale = (m.variance + Doubles<T>(a.eps)).rsqrt().rounded();
  as_lanes(a.mean)[i] = mean.high;
  as_lanes(a.rstd)[i] = scale;
  for_each_piece<T>(x, a.D, a.relu,
                    [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
                      for (std::int64_t d = 0; d < n; ++d) {
                        const T gamma = a.gamma != nullptr ? a.gamma[first + d] : T(1);
                        const T beta = a.beta != nullptr ? a.beta[first + d] : T(0);
                        y[first + d] = mean.centre(v[d]) * scale * gamma + beta;
                      }
                    });
}

/// dx of row `i`, with g = gamma dy, and in `rest` what rounding took from the means.
template <typename T>
EK_SIMD void row_input_gradient(const LayerNormBackwardArgs<T>& a, Vec<T>* rest, std::int64_t i) {
  const Vec<T>*x = as_lanes(a.x) + i * a.D, *dy = as_lanes(a.dy) + i * a.D;
  const Vec<T> saved = as_lanes(a.mean)[i], rstd = as_lanes(a.rstd)[i];
  const double count = static_cast<double>(a.D);
  LaneGradientSums<T> sums;
  for_each_piece<T>(x, a.D, a.relu,
                    [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
                      LaneGradientSums<T> total = sums;
                      for (std::int64_t d = 0; d < n; ++d) {
                        const Vec<T> g = dy[first + d];
                        total.add(a.gamma != nullptr ? g * a.gamma[first + d] : g, v[d] - saved);
                      }
                      sums = total;
                    });
  const Doubles<T> left = sums.x / count;
  rest[i] = left.rounded();
  if (a.dx == nullptr) return;
  Vec<T>* dx = as_lanes(a.dx) + i * a.D;
  const LaneSplitMean<T> mean(saved, left);
  const Vec<T> offset = (sums.dy / count).rounded();
  const Vec<T> along = (sums.dy_xhat(left, Doubles<T>(rstd)) / count).rounded() * rstd;
  for_each_piece<T>(
      x, a.D, a.relu, [&](const Vec<T>* v, std::int64_t first, std::int64_t n) EK_INLINE_LAMBDA {
        for (std::int64_t d = 0; d < n; ++d) {
          const Vec<T> g = a.gamma != nullptr ? dy[first + d] * a.gamma[first + d] : dy[first + d];
          dx[first + d] = rstd * (g - mean.centre(v[d]) * along - offset);
        }
        if (a.relu) relu_gradient<T>(dx + first, x + first, n);
      });
}

/// v with 0 in all lanes but the first `count`.
template <typename T>
EK_INLINE Vec<T> first_lanes(const Vec<T>& v, std::int64_t count) {
  T lane[kLanes<T>] = {};
  std::memcpy(lane, &v, static_cast<std::size_t>(count) * sizeof(T));
  Vec<T> y;
  std::memcpy(&y, lane, sizeof y);
  return y;
}

/// max(x, 0).
template <typename T>
EK_INLINE Vec<T> rectified(const Vec<T>* x) {
  T lane[kLanes<T>];
  const T* from = reinterpret_cast<const T*>(x);
  EK_LANE_LOOP
  for (int l = 0; l < kLanes<T>; ++l) lane[l] = from[l] < 0 ? T(0) : from[l];
  Vec<T> y;
  std::memcpy(&y, lane, sizeof y);
  return y;
}

/// dgamma and dbeta of elements [begin, end), summed over all rows of all images. The sums of a few elements
/// are kept in lanes and then added up together.
template <typename T>
EK_SIMD void element_gradients(const LayerNormBackwardArgs<T>& a, const Vec<T>* rest, std::int64_t begin,
                               std::int64_t end) {
  constexpr int kTogether = 8, kParts = Doubles<T>::kParts;
  const std::int64_t blocks = lane_blocks<T>(a.N), rows = a.M / a.N;
  const std::int64_t last = a.N - (blocks - 1) * kLanes<T>;  // images of the last block
  for (std::int64_t first = begin; first < end; first += kTogether) {
    const std::int64_t n = std::min<std::int64_t>(kTogether, end - first);
    Vec<double> lanes[2][kTogether * kParts] = {};  // of dgamma, of dbeta
    for (std::int64_t k = 0; k < n; ++k) {
      Doubles<T> dgamma, dbeta;
      for (std::int64_t i = 0; i < blocks * rows; ++i) {
        Vec<T> dy = as_lanes(a.dy)[i * a.D + first + k];
        const Vec<T>* at = as_lanes(a.x) + i * a.D + first + k;
        const Vec<T> x = a.relu ? rectified<T>(at) : *at;
        const Vec<T> centred = (x - as_lanes(a.mean)[i]) - rest[i];
        Vec<T> along = dy * (centred * as_lanes(a.rstd)[i]);
        if (last < kLanes<T> && i >= (blocks - 1) * rows) {
          along = first_lanes<T>(along, last);
          dy = first_lanes<T>(dy, last);
        }
        dgamma += Doubles<T>(along);
        dbeta += Doubles<T>(dy);
      }
      for (int part = 0; part < kParts; ++part) {
        lanes[0][k * kParts + part] = dgamma.part[part];
        lanes[1][k * kParts + part] = dbeta.part[part];
      }
    }
    for (int which = 0; which < 2; ++which) {
      T* out = which == 0 ? a.dgamma : a.dbeta;
      double sums[kTogether * kParts];
      sums_of_lanes<kTogether * kParts, double>(sums, lanes[which], kLanes<double>);
      for (std::int64_t k = 0; out != nullptr && k < n; ++k) {
        double total = 0;
        for (int part = 0; part < kParts; ++part) total += sums[k * kParts + part];
        out[first + k] = static_cast<T>(total);
      }
    }
  }
}

}  // namespace

template <typename T>
void layer_norm_forward(const LayerNormForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * (a.M / a.N), 5 * a.D * kLanes<T>,
               [&](std::int64_t i) { normalize_row(a, i); });
}

template <typename T>
void layer_norm_backward(const LayerNormBackwardArgs<T>& a) {
  const std::int64_t rows = lane_blocks<T>(a.N) * (a.M / a.N);
  static thread_local Scratch<T> scratch;
  Vec<T>* rest = scratch.get(rows);
  parallel_for(rows, 6 * a.D * kLanes<T>, [&](std::int64_t i) { row_input_gradient(a, rest, i); });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  constexpr std::int64_t kElements = 64;  // of a task
  parallel_for((a.D + kElements - 1) / kElements, 4 * kElements * a.M, [&](std::int64_t i) {
    element_gradients(a, rest, i * kElements, std::min(a.D, (i + 1) * kElements));
  });
}

template void layer_norm_forward(const LayerNormForwardArgs<float>&);
template void layer_norm_forward(const LayerNormForwardArgs<double>&);
template void layer_norm_backward(const LayerNormBackwardArgs<float>&);
template void layer_norm_backward(const LayerNormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::lanes
