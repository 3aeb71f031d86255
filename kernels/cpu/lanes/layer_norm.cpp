#include "evenkeel/kernels/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/lanes/ops.h"
#include "evenkeel/kernels/cpu/lanes/statistics.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA::lanes {
namespace {

/// Row `i` of [blocks, rows of an image]: D vectors.
template <typename T>
void normalize_row(const NormForwardArgs<T>& a, std::int64_t i, int part) {
  const auto x = column(a.x, part) + i * a.S;
  const auto y = column(a.y, part) + i * a.S;
  const LaneMoments<T> m = lane_moments<T>(x, a.S, a.relu);
  const LaneSplitMean<T> mean(m.mean);
  const Register<T> scale = (m.variance + Doubles<T>(a.eps)).rsqrt().rounded();
  column(a.mean, part)[i] = mean.high;
  column(a.rstd, part)[i] = scale;
  for (std::int64_t d = 0; d < a.S; ++d) {
    const T gamma = a.gamma != nullptr ? a.gamma[d] : T(1);
    const T beta = a.beta != nullptr ? a.beta[d] : T(0);
    y[d] = mean.centre(rectified<T>(x[d], a.relu)) * scale * gamma + beta;
  }
}

/// dx of row `i`, with g = gamma dy, and in `rest` what rounding took from the means.
template <typename T>
void row_input_gradient(const NormBackwardArgs<T>& a, T* rest, std::int64_t i, int part) {
  const auto x = column(a.x, part) + i * a.S, dy = column(a.dy, part) + i * a.S;
  const Register<T> saved = column(a.mean, part)[i], rstd = column(a.rstd, part)[i];
  const double count = static_cast<double>(a.S);
  LaneGradientSums<T> sums;
  for (std::int64_t d = 0; d < a.S; ++d) {
    const Register<T> g = a.gamma != nullptr ? dy[d] * a.gamma[d] : dy[d];
    sums.add(g, rectified<T>(x[d], a.relu) - saved);
  }
  const Doubles<T> left = sums.x / count;
  column(rest, part)[i] = left.rounded();
  if (a.dx == nullptr) return;
  const auto dx = column(a.dx, part) + i * a.S;
  const LaneSplitMean<T> mean(saved, left);
  const Register<T> offset = (sums.dy / count).rounded();
  const Register<T> along = (sums.dy_xhat(left, Doubles<T>(rstd)) / count).rounded() * rstd;
  for (std::int64_t d = 0; d < a.S; ++d) {
    const Register<T> g = a.gamma != nullptr ? dy[d] * a.gamma[d] : dy[d];
    const Register<T> gradient = rstd * (g - mean.centre(rectified<T>(x[d], a.relu)) * along - offset);
    dx[d] = rectified_gradient<T>(gradient, x[d], a.relu);
  }
}

/// r with 0 in all lanes but the first `count`.
template <typename T>
EK_INLINE Register<T> first_lanes(const Register<T>& r, std::int64_t count) {
  Register<T> y;
  for (int l = 0; l < kRegisterLanes<T>; ++l) y[l] = l < count ? r[l] : T(0);
  return y;
}

/// The sums of an element over rows [begin, end) of all images, each lane by itself. The lanes from `count`
/// on hold no image.
template <typename T>
EK_INLINE void add_element(Doubles<T>& dgamma, Doubles<T>& dbeta, const NormBackwardArgs<T>& a, const T* rest,
                           std::int64_t element, std::int64_t begin, std::int64_t end, int part,
                           std::int64_t count) {
  const auto dy = column(a.dy, part) + element, x = column(a.x, part) + element;
  const auto mean = column(a.mean, part), rstd = column(a.rstd, part), low = column(rest, part);
  for (std::int64_t i = begin; i < end; ++i) {
    const Register<T> gradient = dy[i * a.S];
    const Register<T> centred = (rectified<T>(x[i * a.S], a.relu) - mean[i]) - low[i];
    const Register<T> along = gradient * (centred * rstd[i]);
    const bool all = count >= kRegisterLanes<T>;
    dgamma += Doubles<T>(all ? along : first_lanes<T>(along, count));
    dbeta += Doubles<T>(all ? gradient : first_lanes<T>(gradient, count));
  }
}

/// dgamma and dbeta of elements [begin, end), summed over all rows of all images. The sums of a few elements
/// are kept in lanes and then added up together.
template <typename T>
void element_gradients(const NormBackwardArgs<T>& a, const T* rest, std::int64_t begin, std::int64_t end) {
  constexpr int kTogether = 8, kEights = kLanes<T> / kLanes<double>;
  const std::int64_t blocks = lane_blocks<T>(a.N), rows = a.C;
  const std::int64_t last = images_of_block<T>(a.N, blocks - 1);
  for (std::int64_t first = begin; first < end; first += kTogether) {
    const std::int64_t n = std::min<std::int64_t>(kTogether, end - first);
    LaneTotals<T> lanes[2][kTogether] = {};  // of dgamma, of dbeta
    for (std::int64_t k = 0; k < n; ++k) {
      for (int part = 0; part < kParts; ++part) {
        Doubles<T> dgamma, dbeta;
        const std::int64_t whole = last < kLanes<T> ? (blocks - 1) * rows : blocks * rows;
        add_element(dgamma, dbeta, a, rest, first + k, 0, whole, part, kLanes<T>);
        add_element(dgamma, dbeta, a, rest, first + k, whole, blocks * rows, part,
                    last - part * kRegisterLanes<T>);
        lanes[0][k].set(part, dgamma);
        lanes[1][k].set(part, dbeta);
      }
    }
    for (int which = 0; which < 2; ++which) {
      T* out = which == 0 ? a.dgamma : a.dbeta;
      double sums[kTogether * kEights];
      sums_of_lanes<kTogether * kEights, double>(sums, as_lanes(lanes[which][0].lane), kLanes<double>);
      for (std::int64_t k = 0; out != nullptr && k < n; ++k) {
        double total = 0;
        for (int i = 0; i < kEights; ++i) total += sums[k * kEights + i];
        out[first + k] = static_cast<T>(total);
      }
    }
  }
}

}  // namespace

template <typename T>
void layer_norm_forward(const NormForwardArgs<T>& a) {
  parallel_for(lane_blocks<T>(a.N) * a.C, 5 * a.S * kLanes<T>, [&](std::int64_t i) {
    for (int part = 0; part < kParts; ++part) normalize_row(a, i, part);
  });
}

template <typename T>
void layer_norm_backward(const NormBackwardArgs<T>& a) {
  const std::int64_t rows = lane_blocks<T>(a.N) * a.C;
  static thread_local Scratch scratch;
  T* rest = scratch.get<T>(rows * kLanes<T>);
  parallel_for(rows, 6 * a.S * kLanes<T>, [&](std::int64_t i) {
    for (int part = 0; part < kParts; ++part) row_input_gradient(a, rest, i, part);
  });
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  constexpr std::int64_t kOfTask = 64;  // elements
  parallel_for((a.S + kOfTask - 1) / kOfTask, 4 * kOfTask * a.rows(), [&](std::int64_t i) {
    element_gradients(a, rest, i * kOfTask, std::min(a.S, (i + 1) * kOfTask));
  });
}

template void layer_norm_forward(const NormForwardArgs<float>&);
template void layer_norm_forward(const NormForwardArgs<double>&);
template void layer_norm_backward(const NormBackwardArgs<float>&);
template void layer_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA::lanes
