#include "evenkeel/kernels/cpu/fused/epilogue.h"

#include <cmath>

#include "evenkeel/kernels/cpu/philox_many.h"

namespace evenkeel::cpu::EK_ISA {

template <typename T>
UnitStatistics<T> UnitEpilogue<T>::of_channel(std::int64_t c) const {
  if (e_.norm == NormPartition::batch) {
    const T* m = kept_.merged + 3 * c;
    return {broadcast(m[0]), broadcast(m[1]), broadcast(m[2])};
  }
  return statistics()[c / (e_.C / e_.sets)];
}

template <typename T>
void UnitEpilogue<T>::take_statistics(const Register<T>* z) const {
  const std::int64_t S = pixels();
  const bool relu = e_.relu_first;
  const auto dense = [=](const Register<T>* from, std::int64_t n) EK_INLINE_LAMBDA {
    if (relu)
      return moments_of<T>(n, [=](std::int64_t i) EK_INLINE_LAMBDA { return rectified<T>(from[i], true); });
    return moments_of<T>(n, [=](std::int64_t i) EK_INLINE_LAMBDA { return from[i]; });
  };
  switch (e_.norm) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
      for (std::int64_t c = 0; e_.training && c < e_.C; ++c) statistics()[c] = dense(z + c * S, S);
      return;
    case NormPartition::group:
    case NormPartition::rows:
      for (std::int64_t i = 0; i < e_.sets; ++i)
        statistics()[i] = with_rstd(dense(z + i * e_.set_size, e_.set_size), e_.set_size, e_.eps);
      return;
    case NormPartition::pixels:
      for (std::int64_t s = 0; s < S; ++s) {
        const auto at = [=](std::int64_t c) EK_INLINE_LAMBDA { return rectified<T>(z[c * S + s], relu); };
        statistics()[s] = with_rstd(moments_of<T>(e_.C, at), e_.C, e_.eps);
      }
  }
}

/// unit_interval(bits) >= p, in whole numbers. Where sizes are multiples of 4, the four numbers of a Philox
/// block belong to four neighbours of an image. Bits first, then the mask, so that both loops vectorise.
template <typename T>
void UnitEpilogue<T>::draw_mask(std::int64_t image) const {
  if (e_.p == 0) return;
  constexpr std::int64_t L = kRegisterLanes<T>, kElements = 64;
  const std::int64_t size = block_.elements_of_output();
  const auto least = static_cast<std::uint32_t>(std::ceil(static_cast<float>(e_.p) * 0x1p24f));
  for (std::int64_t begin = 0; begin < size; begin += kElements) {
    const std::int64_t n = std::min(kElements, size - begin), blocks = (n + 3) / 4 * L;
    std::uint32_t bits[4][kElements / 4 * L];  // [element % 4][element / 4][lane]
    std::uint64_t number[kElements / 4 * L];
    for (std::int64_t i = 0; i < n; i += 4) {
      for (std::int64_t l = 0; l < L; ++l)
        number[i / 4 * L + l] = static_cast<std::uint64_t>((image + l) * size + begin + i);
    }
    if (size % 4 == 0) {
      for (std::int64_t b = 0; b < blocks; ++b) number[b] /= 4;
      philox_many(bits, e_.key, number, blocks);
    } else {
      for (std::int64_t b = 0; b < blocks; ++b) {
        for (std::uint64_t k = 0; k < 4; ++k)
          bits[k][b] = philox(e_.key, (number[b] + k) / 4)[(number[b] + k) % 4];
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::uint32_t* of_element = &bits[i % 4][i / 4 * L];
      Integers<T> drawn;
      if constexpr (sizeof(T) == 4) {
        std::memcpy(&drawn, of_element, sizeof drawn);
      } else {
        for (std::int64_t l = 0; l < L; ++l) drawn[l] = of_element[l];
      }
      drawn = (drawn >> 8 & 0xffffff) >= static_cast<std::int32_t>(least);  // -1 where it is kept
      store_bytes<T>(kept_.mask + (begin + i) * L, drawn);
    }
  }
}

namespace {

/// x in the lanes whose byte is 255, 0 where it is 0.
template <typename T>
EK_INLINE Register<T> kept_or_zero(const Register<T>& x, const std::uint8_t* mask) {
  return reinterpret_cast<Register<T>>(reinterpret_cast<Integers<T>>(x) & load_bytes<T>(mask));
}

}  // namespace

template <typename T>
void UnitEpilogue<T>::normalize(Register<T>* y, const Register<T>* z) const {
  if (e_.pool == FusedPool::none && e_.p > 0) {
    const T scale = static_cast<T>(1 / (1 - e_.p));
    const std::uint8_t* mask = kept_.mask;
    return normalize_each(z, [=](std::int64_t i, const Register<T>& value) EK_INLINE_LAMBDA {
      y[i] = kept_or_zero<T>(value * scale, mask + i * kRegisterLanes<T>);
    });
  }
  normalize_each(z, [=](std::int64_t i, const Register<T>& value) EK_INLINE_LAMBDA { y[i] = value; });
}

template <typename T>
template <typename Put>
void UnitEpilogue<T>::normalize_each(const Register<T>* z, Put put) const {
  // Copies: what put() writes might else be these, for all that the compiler knows.
  const std::int64_t S = pixels(), D = e_.set_size;
  const T *const gammas = e_.block.gamma, *const betas = e_.block.beta;
  const bool first = e_.relu_first, second = e_.relu;
  switch (e_.norm) {
    case NormPartition::none:
      return;
    case NormPartition::batch:
    case NormPartition::group:
      for (std::int64_t c = 0; c < e_.C; ++c) {
        const ScaleAndShift<T> f(of_channel(c), gamma(c), beta(c));
        for (std::int64_t i = c * S; i < (c + 1) * S; ++i)
          put(i, rectified<T>(f(rectified<T>(z[i], first)), second));
      }
      return;
    case NormPartition::rows:
      for (std::int64_t set = 0; set < e_.sets; ++set) {
        const Xhat<T> xhat(statistics()[set]);
        const std::int64_t begin = set * D;
        if (gammas != nullptr && betas != nullptr) {
          for (std::int64_t d = 0; d < D; ++d) {
            const Register<T> x = xhat(rectified<T>(z[begin + d], first));
            put(begin + d, rectified<T>(x * gammas[d] + betas[d], second));
          }
          continue;
        }
        for (std::int64_t d = 0; d < D; ++d) {
          const T scale = gammas != nullptr ? gammas[d] : T(1), shift = betas != nullptr ? betas[d] : T(0);
          put(begin + d, rectified<T>(xhat(rectified<T>(z[begin + d], first)) * scale + shift, second));
        }
      }
      return;
    case NormPartition::pixels:
      for (std::int64_t c = 0; c < e_.C; ++c) {
        const T g = gamma(c), b = beta(c);
        for (std::int64_t s = 0; s < S; ++s) {
          const Xhat<T> xhat(statistics()[s]);
          put(c * S + s, rectified<T>(xhat(rectified<T>(z[c * S + s], first)) * g + b, second));
        }
      }
  }
}

template <typename T>
void UnitEpilogue<T>::rectify(Register<T>* y, const Register<T>* z) const {
  const std::int64_t n = block_.elements_of_z();
  for (std::int64_t i = 0; i < n; ++i) y[i] = rectified<T>(z[i], true);
}

/// Rows [begin, end) of the pool's output, from planes of rows_of_x rows, of which the first belongs to
/// `begin`. The first of equal values is taken, and the last NaN, as max_pool2d does.
template <typename T>
void UnitEpilogue<T>::take_maximum(Register<T>* y, const Register<T>* x, std::int64_t rows_of_x,
                                   std::int64_t begin, std::int64_t end) const {
  const std::int64_t window = e_.window, P = e_.pooled_height(), Q = e_.pooled_width();
  for (std::int64_t c = 0; c < e_.C; ++c) {
    for (std::int64_t p = begin; p < end; ++p) {
      const Register<T>* row = x + (c * rows_of_x + (p - begin) * window) * e_.W;
      for (std::int64_t i = (c * P + p) * Q; i < (c * P + p + 1) * Q; ++i, row += window) {
        Register<T> largest = row[0];
        Integers<T> tap = {};
        const auto take = [&](std::int64_t h, std::int64_t w, int number) EK_INLINE_LAMBDA {
          const Register<T> value = row[h * e_.W + w];
          const Integers<T> wins = (value > largest) | (value != value);
          largest = wins ? value : largest;
          tap = wins ? Integers<T>{} + number : tap;
        };
        if (window == 2) {
          take(0, 1, 1);
          take(1, 0, 2);
          take(1, 1, 3);
        } else {
          for (std::int64_t h = 0; h < window; ++h) {
            for (std::int64_t w = 0; w < window; ++w) take(h, w, static_cast<int>(h * window + w));
          }
        }
        y[i] = largest;
        store_bytes<T>(kept_.taps + i * kRegisterLanes<T>, tap);
      }
    }
  }
}

template <typename T>
void UnitEpilogue<T>::pool_band(Register<T>* z, std::int64_t p) const {
  const std::int64_t n = static_cast<std::int64_t>(e_.C) * e_.window * e_.W;
  for (std::int64_t i = 0; (e_.relu || e_.relu_first) && i < n; ++i) z[i] = rectified<T>(z[i], true);
  take_maximum(kept_.z, z, e_.window, p, p + 1);
}

template <typename T>
void UnitEpilogue<T>::spread_band(Register<T>* dz, const Register<T>* dy, std::int64_t p) const {
  spread_gradient(dz, dy, e_.window, p, p + 1);
}

template <typename T>
void UnitEpilogue<T>::take_average(Register<T>* y, const Register<T>* x) const {
  const std::int64_t window = e_.window, P = e_.pooled_height(), Q = e_.pooled_width();
  const T area = static_cast<T>(window * window);
  for (std::int64_t c = 0; c < e_.C; ++c) {
    for (std::int64_t p = 0; p < P; ++p) {
      const Register<T>* row = x + (c * e_.H + p * window) * e_.W;
      for (std::int64_t q = 0; q < Q; ++q, ++y, row += window) {
        Register<T> total = {};
        for (std::int64_t h = 0; h < window; ++h) {
          for (std::int64_t w = 0; w < window; ++w) total += row[h * e_.W + w];
        }
        *y = total / area;
      }
    }
  }
}

template <typename T>
void UnitEpilogue<T>::drop(Register<T>* y, const Register<T>* x) const {
  const std::int64_t n = block_.elements_of_output();
  const T scale = static_cast<T>(1 / (1 - e_.p));
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = kept_or_zero<T>(x[i] * scale, kept_.mask + i * kRegisterLanes<T>);
  }
}

template <typename T>
const Register<T>* UnitEpilogue<T>::forward(const Register<T>* z, Register<T>* out,
                                            Register<T>* spare) const {
  const Register<T>* y = z;
  const auto other = [&](const Register<T>* used) { return used == out ? spare : out; };
  if (e_.norm != NormPartition::none) {
    normalize(out, y);
    y = out;
  } else if (e_.relu || e_.relu_first) {
    rectify(out, y);
    y = out;
  }
  if (e_.pool != FusedPool::none) {
    Register<T>* to = block_.keeps_pooled() ? kept_.z : other(y);
    e_.pool == FusedPool::max ? take_maximum(to, y, e_.H, 0, e_.pooled_height()) : take_average(to, y);
    y = to;
  }
  if (e_.p == 0 || (e_.norm != NormPartition::none && e_.pool == FusedPool::none)) return y;
  Register<T>* to = y == out || y == spare ? const_cast<Register<T>*>(y) : out;
  drop(to, y);
  return to;
}

template <typename T>
bool UnitEpilogue<T>::ends_in_out() const {
  const bool is_first = e_.norm == NormPartition::none && !e_.relu && !e_.relu_first;
  return e_.pool == FusedPool::none || is_first;
}

template <typename T>
const Register<T>* UnitEpilogue<T>::again(Register<T>* out, Register<T>* spare) const {
  if (!block_.keeps_pooled()) return forward(kept_.z, out, spare);
  if (e_.p == 0) return kept_.z;
  drop(out, kept_.z);
  return out;
}

/// dx from rows [begin, end) of dy, the gradient of the pool's output, in planes as in take_maximum().
template <typename T>
void UnitEpilogue<T>::spread_gradient(Register<T>* dx, const Register<T>* dy, std::int64_t rows_of_x,
                                      std::int64_t begin, std::int64_t end) const {
  const std::int64_t window = e_.window, P = e_.pooled_height(), Q = e_.pooled_width();
  const T area = static_cast<T>(window * window);
  if ((end - begin) * window != rows_of_x || Q * window != e_.W)
    std::memset(dx, 0, static_cast<std::size_t>(e_.C * rows_of_x * e_.W) * sizeof *dx);
  for (std::int64_t c = 0; c < e_.C; ++c) {
    for (std::int64_t p = begin; p < end; ++p) {
      Register<T>* row = dx + (c * rows_of_x + (p - begin) * window) * e_.W;
      for (std::int64_t i = (c * P + p) * Q; i < (c * P + p + 1) * Q; ++i, row += window) {
        if (e_.pool == FusedPool::average) {
          const Register<T> share = dy[i] / area;
          for (std::int64_t h = 0; h < window; ++h) {
            for (std::int64_t w = 0; w < window; ++w) row[h * e_.W + w] = share;
          }
          continue;
        }
        const auto tap = load_bytes<T>(kept_.taps + i * kRegisterLanes<T>);
        const auto share = [&](int number) EK_INLINE_LAMBDA { return tap == number ? dy[i] : Register<T>{}; };
        if (window == 2) {
          row[0] = share(0);
          row[1] = share(1);
          row[e_.W] = share(2);
          row[e_.W + 1] = share(3);
          continue;
        }
        int number = 0;
        for (std::int64_t h = 0; h < window; ++h) {
          for (std::int64_t w = 0; w < window; ++w) row[h * e_.W + w] = share(number++);
        }
      }
    }
  }
}

template <typename T>
bool UnitEpilogue<T>::reads_only() const {
  if (e_.p > 0) return false;
  const bool pooled = e_.pool != FusedPool::none && !block_.keeps_pooled();
  return pooled || e_.norm != NormPartition::none || !(e_.relu || e_.relu_first);
}

template <typename T>
void UnitEpilogue<T>::backward_to_pool(Register<T>* g) const {
  if (e_.p > 0) drop(g, g);
  if (!block_.keeps_pooled() || !(e_.relu || e_.relu_first)) return;
  const std::int64_t n = block_.elements_of_output();
  for (std::int64_t i = 0; i < n; ++i) g[i] = rectified_gradient<T>(g[i], kept_.z[i], true);
}

template <typename T>
Register<T>* UnitEpilogue<T>::backward_to_norm(Register<T>* g, Register<T>* spare) const {
  backward_to_pool(g);
  if (e_.pool != FusedPool::none) {
    spread_gradient(spare, g, e_.H, 0, e_.pooled_height());
    g = spare;
  }
  if (e_.norm == NormPartition::none && !block_.keeps_pooled() && (e_.relu || e_.relu_first)) {
    const std::int64_t n = block_.elements_of_z();
    for (std::int64_t i = 0; i < n; ++i) g[i] = rectified_gradient<T>(g[i], kept_.z[i], true);
  }
  return g;
}

template <typename T>
void UnitEpilogue<T>::backward_norm(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const {
  if (e_.norm == NormPartition::group) backward_groups(dz, g, dgamma, dbeta);
  if (e_.norm == NormPartition::rows) backward_rows(dz, g, dgamma, dbeta);
  if (e_.norm == NormPartition::pixels) backward_pixels(dz, g, dgamma, dbeta);
}

namespace {

/// The gradient of the norm's output y from that of what follows it: 0 where y was rectified.
template <typename T>
EK_INLINE Register<T> before_relu(const Register<T>& g, const Register<T>& y, bool relu) {
  return relu ? (y <= 0 ? Register<T>{} : g) : g;
}

/// The sums of d xhat and d over n pixels of a channel, d the gradient of the norm's output, which is written
/// to `d` unless that is null; g is that of what follows it.
template <typename T>
EK_INLINE ChannelSums<T> channel_sums(Register<T>* d, const Register<T>* g, const Register<T>* z,
                                      std::int64_t n, const Xhat<T>& xhat, const ScaleAndShift<T>& y,
                                      const Epilogue<T>& e) {
  Register<T> sums[2];
  const bool first = e.relu_first, second = e.relu;
  if (d == nullptr && !second) {
    running_sums<T>(sums, n, [=, &xhat](Register<T>* s, std::int64_t i) EK_INLINE_LAMBDA {
      const Register<T> gradient = g[i];
      s[0] += gradient * xhat(rectified<T>(z[i], first));
      s[1] += gradient;
    });
    return {sums[0], sums[1]};
  }
  running_sums<T>(sums, n, [=, &xhat, &y](Register<T>* s, std::int64_t i) EK_INLINE_LAMBDA {
    const Register<T> x = rectified<T>(z[i], first), gradient = before_relu<T>(g[i], y(x), second);
    d[i] = gradient;
    s[0] += gradient * xhat(x);
    s[1] += gradient;
  });
  return {sums[0], sums[1]};
}

/// dz = rstd (gamma d - mean(g) - xhat mean(g xhat)) of n pixels with one gamma, g = gamma d; rstd is a
/// factor of all three.
template <typename T>
EK_INLINE void channel_gradient(Register<T>* dz, const Register<T>* d, const Register<T>* z, std::int64_t n,
                                const Xhat<T>& xhat, T gamma, const ChannelSums<T>& means, bool relu) {
  const Register<T> scale = xhat.rstd * gamma, offset = xhat.rstd * means.d, along = xhat.rstd * means.d_xhat;
  for (std::int64_t i = 0; i < n; ++i) {
    const Register<T> gradient = (d[i] * scale - offset) - xhat(rectified<T>(z[i], relu)) * along;
    dz[i] = rectified_gradient<T>(gradient, z[i], relu);
  }
}

}  // namespace

template <typename T>
void UnitEpilogue<T>::backward_groups(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const {
  const std::int64_t S = pixels(), channels = e_.C / e_.sets;
  static thread_local Scratch scratch;
  auto* sums = scratch.get<ChannelSums<T>>(e_.C);
  const Register<T>* d = e_.relu ? dz : g;  // the gradient of the norm's output
  for (std::int64_t set = 0; set < e_.sets; ++set) {
    const Xhat<T> xhat(statistics()[set]);
    ChannelSums<T> means{};
    const std::int64_t begin = set * channels, end = begin + channels;
    for (std::int64_t c = begin; c < end; ++c) {
      sums[c] = channel_sums<T>(e_.relu ? dz + c * S : nullptr, g + c * S, kept_.z + c * S, S, xhat,
                                ScaleAndShift<T>(statistics()[set], gamma(c), beta(c)), e_);
      means.d_xhat += sums[c].d_xhat * gamma(c);
      means.d += sums[c].d * gamma(c);
    }
    means.d_xhat /= static_cast<T>(e_.set_size);
    means.d /= static_cast<T>(e_.set_size);
    for (std::int64_t c = begin; c < end; ++c)
      channel_gradient<T>(dz + c * S, d + c * S, kept_.z + c * S, S, xhat, gamma(c), means, e_.relu_first);
  }
  if (dgamma != nullptr)
    sum_lanes<T>(dgamma, e_.C, count_, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d_xhat; });
  if (dbeta != nullptr)
    sum_lanes<T>(dbeta, e_.C, count_, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d; });
}

template <typename T>
void UnitEpilogue<T>::backward_rows(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const {
  const std::int64_t D = e_.set_size, sets = e_.sets;
  const bool relu = e_.relu_first;
  const Register<T>* z = kept_.z;
  const UnitStatistics<T>* of = statistics();
  for (std::int64_t set = 0; e_.relu && set < sets; ++set) {
    const Xhat<T> xhat(of[set]);
    for (std::int64_t i = 0; i < D; ++i) {
      const Register<T> y = xhat(rectified<T>(z[set * D + i], relu)) * gamma(i) + beta(i);
      dz[set * D + i] = before_relu<T>(g[set * D + i], y, true);
    }
  }
  const Register<T>* d = e_.relu ? dz : g;  // the gradient of the norm's output
  if (dgamma != nullptr && sets == 1) {
    const Xhat<T> xhat(of[0]);
    sum_lanes<T>(dgamma, D, count_, [=, &xhat](std::int64_t e) EK_INLINE_LAMBDA {
      return d[e] * xhat(rectified<T>(z[e], relu));
    });
  } else if (dgamma != nullptr) {
    sum_lanes<T>(dgamma, D, count_, [=](std::int64_t e) EK_INLINE_LAMBDA {
      Register<T> sum = {};
      for (std::int64_t set = 0; set < sets; ++set)
        sum += d[set * D + e] * Xhat<T>(of[set])(rectified<T>(z[set * D + e], relu));
      return sum;
    });
  }
  if (dbeta != nullptr) {
    sum_lanes<T>(dbeta, D, count_, [=](std::int64_t e) EK_INLINE_LAMBDA {
      Register<T> sum = d[e];
      for (std::int64_t set = 1; set < sets; ++set) sum += d[set * D + e];
      return sum;
    });
  }
  for (std::int64_t set = 0; set < sets; ++set, d += D, dz += D, z += D) {
    const Xhat<T> xhat(of[set]);
    const Register<T>*from = z, *gradients = d;
    const T* gammas = e_.block.gamma;
    Register<T> sums[2];
    running_sums<T>(sums, D, [=, &xhat](Register<T>* s, std::int64_t i) EK_INLINE_LAMBDA {
      const Register<T> scaled = gammas != nullptr ? gradients[i] * gammas[i] : gradients[i];
      s[0] += scaled * xhat(rectified<T>(from[i], relu));
      s[1] += scaled;
    });
    const Register<T> offset = sums[1] / static_cast<T>(D), along = sums[0] / static_cast<T>(D);
    for (std::int64_t i = 0; i < D; ++i) {
      const Register<T> scaled = gammas != nullptr ? d[i] * gammas[i] : d[i];
      const Register<T> gradient = xhat.rstd * (scaled - offset - xhat(rectified<T>(from[i], relu)) * along);
      dz[i] = rectified_gradient<T>(gradient, from[i], relu);
    }
  }
}

template <typename T>
void UnitEpilogue<T>::backward_pixels(Register<T>* dz, const Register<T>* g, T* dgamma, T* dbeta) const {
  const std::int64_t S = pixels(), C = e_.C;
  const bool relu = e_.relu_first;
  const Register<T>* z = kept_.z;
  static thread_local Scratch scratch;
  auto* sums = scratch.get<ChannelSums<T>>(C + S);
  ChannelSums<T>* means = sums + C;
  for (std::int64_t c = 0; e_.relu && c < C; ++c) {
    const T scale = gamma(c), shift = beta(c);
    for (std::int64_t s = 0; s < S; ++s) {
      const Register<T> y = Xhat<T>(statistics()[s])(rectified<T>(z[c * S + s], relu)) * scale + shift;
      dz[c * S + s] = before_relu<T>(g[c * S + s], y, true);
    }
  }
  const Register<T>* d = e_.relu ? dz : g;  // the gradient of the norm's output
  for (std::int64_t s = 0; s < S; ++s) {
    const Xhat<T> xhat(statistics()[s]);
    Register<T> total[2];
    running_sums<T>(total, C, [=, this](Register<T>* sum, std::int64_t c) EK_INLINE_LAMBDA {
      const Register<T> scaled = d[c * S + s] * gamma(c);
      sum[0] += scaled * xhat(rectified<T>(z[c * S + s], relu));
      sum[1] += scaled;
    });
    means[s] = {total[0] / static_cast<T>(C), total[1] / static_cast<T>(C)};
  }
  for (std::int64_t c = 0; c < C; ++c) {
    sums[c] = ChannelSums<T>{};
    const T of_channel = gamma(c);
    for (std::int64_t s = 0; s < S; ++s) {
      const Xhat<T> xhat(statistics()[s]);
      const Register<T> x = z[c * S + s], gradient = d[c * S + s], along = xhat(rectified<T>(x, relu));
      sums[c].d_xhat += gradient * along;
      sums[c].d += gradient;
      const Register<T> of_xhat = xhat.rstd * (gradient * of_channel - means[s].d - along * means[s].d_xhat);
      dz[c * S + s] = rectified_gradient<T>(of_xhat, x, relu);
    }
  }
  if (dgamma != nullptr)
    sum_lanes<T>(dgamma, C, count_, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d_xhat; });
  if (dbeta != nullptr)
    sum_lanes<T>(dbeta, C, count_, [=](std::int64_t c) EK_INLINE_LAMBDA { return sums[c].d; });
}

template <typename T>
void UnitEpilogue<T>::batch_sums(Register<T>* d, const Register<T>* g, ChannelSums<T>* sums) const {
  const std::int64_t S = pixels();
  for (std::int64_t c = 0; c < e_.C; ++c) {
    const UnitStatistics<T> of = of_channel(c);
    sums[c] = channel_sums<T>(d != nullptr ? d + c * S : nullptr, g + c * S, kept_.z + c * S, S, Xhat<T>(of),
                              ScaleAndShift<T>(of, gamma(c), beta(c)), e_);
  }
}

template <typename T>
void UnitEpilogue<T>::backward_batch(Register<T>* dz, const Register<T>* d, const T* means) const {
  const std::int64_t S = pixels();
  for (std::int64_t c = 0; c < e_.C; ++c) {
    if (means == nullptr) {
      const Register<T> scale = broadcast(kept_.merged[3 * c + 2] * gamma(c));
      for (std::int64_t i = c * S; i < (c + 1) * S; ++i)
        dz[i] = rectified_gradient<T>(d[i] * scale, kept_.z[i], e_.relu_first);
      continue;
    }
    const ChannelSums<T> of{broadcast(means[2 * c]), broadcast(means[2 * c + 1])};
    channel_gradient<T>(dz + c * S, d + c * S, kept_.z + c * S, S, Xhat<T>(of_channel(c)), gamma(c), of,
                        e_.relu_first);
  }
}

template class UnitEpilogue<float>;
template class UnitEpilogue<double>;

}  // namespace evenkeel::cpu::EK_ISA
