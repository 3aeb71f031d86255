#include "evenkeel/kernels/cpu/norm.h"

#include <algorithm>

#include "evenkeel/kernels/cpu/lane_norm.h"
#include "evenkeel/kernels/cpu/norm_common.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel::cpu::EK_ISA {
namespace {

/// y of one row.
template <typename T>
EK_INLINE void normalize_row(T* y, const T* x, SetStatistics<T> row, const T* gamma, const T* beta,
                             std::int64_t D, bool streamed) {
  const auto with = [=](auto gamma_at, auto beta_at) EK_INLINE_LAMBDA {
    write_all(y, D, streamed, [=](std::int64_t d) EK_INLINE_LAMBDA {
      return scaled_and_shifted(row.xhat(x[d]), gamma_at(d), beta_at(d));
    });
  };
  const auto of_gamma = [=](std::int64_t d) EK_INLINE_LAMBDA { return gamma[d]; };
  const auto of_beta = [=](std::int64_t d) EK_INLINE_LAMBDA { return beta[d]; };
  const auto one = [](std::int64_t) EK_INLINE_LAMBDA { return T(1); };
  const auto zero = [](std::int64_t) EK_INLINE_LAMBDA { return T(0); };
  if (gamma != nullptr && beta != nullptr) return with(of_gamma, of_beta);
  if (gamma != nullptr) return with(of_gamma, zero);
  if (beta != nullptr) return with(one, of_beta);
  with(one, zero);
}

constexpr std::int64_t kRowsTogether = 16;

/// moments() about 0, for RMS norm.
template <typename T>
EK_INLINE Moments moments_about_zero(const T* x, std::int64_t n) {
  const double squares = lane_sum(n, [=](std::int64_t i) EK_INLINE_LAMBDA {
    return static_cast<double>(x[i]) * static_cast<double>(x[i]);
  });
  return {static_cast<double>(n), 0, squares};
}

/// Rows first .. last-1, at most kRowsTogether. All moments come first, so that no row waits for another's
/// divisions and root.
template <typename T>
void normalize_rows(const NormForwardArgs<T>& a, std::int64_t first, std::int64_t last, bool streamed) {
  double mean[kRowsTogether], variance[kRowsTogether];
  for (std::int64_t m = first; m < last; ++m) {
    const T* x = a.x + m * a.S;
    const Moments row = a.centred ? moments(x, a.S) : moments_about_zero(x, a.S);
    mean[m - first] = row.mean;
    variance[m - first] = row.variance();
  }
  for (std::int64_t m = first; m < last; ++m) {
    a.mean[m] = static_cast<T>(mean[m - first]);
    a.rstd[m] = static_cast<T>(rstd_of(variance[m - first], a.eps));
  }
  for (std::int64_t m = first; m < last; ++m) {
    normalize_row(a.y + m * a.S, a.x + m * a.S, {split<T>(mean[m - first]), a.rstd[m]}, a.gamma, a.beta, a.S,
                  streamed);
  }
}

/// What a row needs to give its gradients, besides its mean and rstd.
template <typename T>
struct RowTerms {
  T rest;  // what rounding took from the mean
  GradientMeans<T> means;
};

/// The sums over a row, of blocks that stay in the first cache while they are read three times.
template <typename T>
void row_terms(RowTerms<T>* terms, const T* dy, const T* x, const T* gamma, std::int64_t D, T mean, T rstd,
               bool centred) {
  constexpr std::int64_t kBlock = 2048;
  GradientSums<double> sums;
  for (std::int64_t begin = 0; begin < D; begin += kBlock) {
    const std::int64_t n = std::min(D - begin, kBlock);
    if (gamma == nullptr) {
      sums.add(gradient_sums(dy + begin, x + begin, n, mean));
    } else {
      T g[kBlock];
      for (std::int64_t d = 0; d < n; ++d) g[d] = dy[begin + d] * gamma[begin + d];
      sums.add(gradient_sums(static_cast<const T*>(g), x + begin, n, mean));
    }
  }
  if (!centred) sums = {0, sums.dy_x, 0};
  const Count<double> count(D);
  const double rest = sums.rest(count);
  *terms = {static_cast<T>(rest), rounded<T>(sums.means(count, rest, static_cast<double>(rstd)))};
}

/// Columns [begin, end) of rows [first, last): dx, and the sums over these rows of dy xhat and dy. Null
/// outputs are skipped. Each output has its own loop, so that its bits do not depend on the others.
template <typename T>
void strip_gradients(const NormBackwardArgs<T>& a, double* dgamma, double* dbeta, const RowTerms<T>* terms,
                     std::int64_t first, std::int64_t last, std::int64_t begin, std::int64_t end) {
  const std::int64_t n = end - begin;
  if (dgamma != nullptr) std::fill_n(dgamma, n, 0.0);
  if (dbeta != nullptr) std::fill_n(dbeta, n, 0.0);
  for (std::int64_t m = first; m < last; ++m) {
    const T *x = a.x + m * a.S + begin, *dy = a.dy + m * a.S + begin;
    const SetStatistics<T> row{{a.mean[m], terms[m].rest}, a.rstd[m]};
    const GradientMeans<T> means = terms[m].means;
    if (dgamma != nullptr) {
      for (std::int64_t d = 0; d < n; ++d) dgamma[d] += static_cast<double>(dy[d] * row.xhat(x[d]));
    }
    if (dbeta != nullptr) {
      for (std::int64_t d = 0; d < n; ++d) dbeta[d] += static_cast<double>(dy[d]);
    }
    if (a.dx == nullptr) continue;
    T* dx = a.dx + m * a.S + begin;
    if (a.gamma != nullptr) {
      const T* gamma = a.gamma + begin;
      for (std::int64_t d = 0; d < n; ++d) dx[d] = means.dx(dy[d] * gamma[d], row.xhat(x[d]), row.rstd);
    } else {
      for (std::int64_t d = 0; d < n; ++d) dx[d] = means.dx(dy[d], row.xhat(x[d]), row.rstd);
    }
  }
}

/// Adds the first of `chunks` arrays of partial sums, 2 D apart, and the others in order; columns
/// [begin, end) of the result.
template <typename T>
void add_chunks(T* total, double* partial, std::int64_t D, std::int64_t chunks, std::int64_t begin,
                std::int64_t end) {
  for (std::int64_t k = 1; k < chunks; ++k) {
    for (std::int64_t d = begin; d < end; ++d) partial[d] += partial[k * 2 * D + d];
  }
  for (std::int64_t d = begin; d < end; ++d) total[d] = static_cast<T>(partial[d]);
}

/// Partial sums of the parameters' gradients: [chunks][dgamma, dbeta][D]. The chunks of rows depend on the
/// shape alone, so that the order of additions does not depend on the threads.
struct Partial {
  double* sums;
  std::int64_t chunks, D;

  template <typename T>
  double* dgamma(const NormBackwardArgs<T>& a, std::int64_t chunk) const {
    return a.dgamma != nullptr ? sums + chunk * 2 * D : nullptr;
  }
  template <typename T>
  double* dbeta(const NormBackwardArgs<T>& a, std::int64_t chunk) const {
    return a.dbeta != nullptr ? sums + (chunk * 2 + 1) * D : nullptr;
  }
  template <typename T>
  void add_up(const NormBackwardArgs<T>& a) const {
    constexpr std::int64_t kColumns = 1024;
    if (a.dgamma == nullptr && a.dbeta == nullptr) return;
    parallel_for((D + kColumns - 1) / kColumns, 2 * chunks * kColumns, [&](std::int64_t i) {
      const std::int64_t begin = i * kColumns, end = std::min(D, begin + kColumns);
      if (a.dgamma != nullptr) add_chunks(a.dgamma, dgamma(a, 0), D, chunks, begin, end);
      if (a.dbeta != nullptr) add_chunks(a.dbeta, dbeta(a, 0), D, chunks, begin, end);
    });
  }
};

inline Partial partial_sums(std::int64_t chunks, std::int64_t D) {
  static thread_local Scratch scratch;
  return {scratch.get<double>(chunks * 2 * D), chunks, D};
}

/// A strip of all rows, or of a chunk of them where there are few strips: x and dy are read once for the
/// sums over rows and once more for all gradients.
template <typename T>
void backward_of_long_rows(const NormBackwardArgs<T>& a) {
  constexpr std::int64_t kColumns = 1024;  // of a strip: its f64 sums stay in the first cache
  constexpr std::int64_t kTasks = 32;      // at least, where each has kRows
  constexpr std::int64_t kRows = 16;       // of a chunk, at least
  static thread_local Scratch scratch;
  auto* terms = scratch.get<RowTerms<T>>(a.rows());
  parallel_for(a.rows(), 6 * a.S, [&](std::int64_t m) {
    row_terms(terms + m, a.dy + m * a.S, a.x + m * a.S, a.gamma, a.S, a.mean[m], a.rstd[m], a.centred);
  });
  const std::int64_t strips = std::max<std::int64_t>(1, (a.S + kColumns - 1) / kColumns);
  const Partial partial =
      partial_sums(std::max<std::int64_t>(1, std::min(kTasks / strips, a.rows() / kRows)), a.S);
  parallel_for(partial.chunks * strips, 8 * a.S / strips * a.rows() / partial.chunks, [&](std::int64_t i) {
    const std::int64_t k = i / strips, begin = i % strips * kColumns;
    double *dgamma = partial.dgamma(a, k), *dbeta = partial.dbeta(a, k);
    strip_gradients(a, dgamma != nullptr ? dgamma + begin : nullptr,
                    dbeta != nullptr ? dbeta + begin : nullptr, terms, k * a.rows() / partial.chunks,
                    (k + 1) * a.rows() / partial.chunks, begin, std::min(a.S, begin + kColumns));
  });
  partial.add_up(a);
}

/// Rows that are worked on a register of lanes at a time, one in each. Where they are short and enough to
/// fill the lanes that takes less time than lane_sums(), the more so if its blocks of 16 leave a rest.
template <typename T>
bool has_short_rows(std::int64_t M, std::int64_t D, std::int64_t longest_of_16s, std::int64_t longest) {
  return D <= (D % 16 == 0 ? longest_of_16s : longest) && 2 * M >= kLanes<T>;
}

/// Calls convert(first, n) for ranges that cover the D elements of a row; where D allows, they have whole
/// tiles of a transposition, the last one overlapping.
template <typename T, typename F>
void for_tiles(std::int64_t D, F convert) {
  constexpr std::int64_t tile = kRowLanes<T>;
  const std::int64_t whole = D / tile * tile;
  convert(0, whole > 0 ? whole : D);
  if (whole > 0 && whole < D) convert(D - tile, tile);
}

/// Asks for the next rows as well: the order of a transposition hides from the processor that they follow.
template <typename T>
void load_rows(Register<T>* rows, const T* x, std::int64_t D, std::int64_t count) {
  for (std::int64_t d = 0; d < count * D; d += kLanes<T>) __builtin_prefetch(x + kRegisterLanes<T> * D + d);
  for_tiles<T>(D, [=](std::int64_t d, std::int64_t n) { load_unit(rows + d, x + d, n, D, count); });
}

template <typename T>
void store_rows(T* y, const Register<T>* rows, std::int64_t D, std::int64_t count) {
  for_tiles<T>(D, [=](std::int64_t d, std::int64_t n) { store_unit(y + d, rows + d, n, D, count); });
}

/// y of rows m .. m+count-1.
template <typename T>
void normalize_short_rows(const NormForwardArgs<T>& a, std::int64_t m, std::int64_t count) {
  static thread_local Scratch scratch;
  auto* x = scratch.get<Register<T>>(a.S);
  load_rows(x, a.x + m * a.S, a.S, count);
  const auto at = [=](std::int64_t d) EK_INLINE_LAMBDA { return x[d]; };
  const UnitStatistics<T> rows = with_rstd(moments_of<T>(a.S, at), a.S, a.eps);
  const Xhat<T> xhat(rows);
  for (std::int64_t d = 0; d < a.S; ++d) {
    const T gamma = a.gamma != nullptr ? a.gamma[d] : T(1), beta = a.beta != nullptr ? a.beta[d] : T(0);
    x[d] = xhat(x[d]) * gamma + beta;
  }
  store_rows(a.y + m * a.S, x, a.S, count);
  std::memcpy(a.mean + m, &rows.mean, static_cast<std::size_t>(count) * sizeof(T));
  std::memcpy(a.rstd + m, &rows.spread, static_cast<std::size_t>(count) * sizeof(T));
}

/// total[d] += the sum over the lanes of sums[set][d], all sets, which become 0. A set has the rows of one
/// register of 64 bytes, so that the order of additions is the same for registers of any length.
template <typename T>
void move_lanes(double* total, Register<T>* sums, std::int64_t D) {
  constexpr int kSets = kLanes<T> / kRegisterLanes<T>;
  for (std::int64_t first = 0; first < D; first += kLanes<T>) {
    const std::int64_t n = std::min<std::int64_t>(kLanes<T>, D - first);
    T of[kSets][kLanes<T>];
    for (int set = 0; set < kSets; ++set) {
      sum_lanes<T>(of[set], n, kRegisterLanes<T>,
                   [=](std::int64_t d) EK_INLINE_LAMBDA { return sums[set * D + first + d]; });
    }
    for (int step = 1; step < kSets; step *= 2) {
      for (int set = 0; set < kSets; set += 2 * step) {
        for (std::int64_t d = 0; d < n; ++d) of[set][d] += of[set + step][d];
      }
    }
    for (std::int64_t d = 0; d < n; ++d) total[first + d] += static_cast<double>(of[0][d]);
  }
  std::fill_n(sums, kSets * D, Register<T>{});
}

/// Rows first .. last-1: dx, and the sums over them of dy xhat and dy. Null outputs are skipped. The sums are
/// taken in lanes for a while, then added in f64.
template <typename T>
void short_rows_gradients(const NormBackwardArgs<T>& a, double* dgamma, double* dbeta, std::int64_t first,
                          std::int64_t last) {
  constexpr std::int64_t L = kRegisterLanes<T>, kSets = kLanes<T> / L, kTogether = 64 * kSets;
  const std::int64_t D = a.S;
  const T count_of_row = static_cast<T>(D);
  static thread_local Scratch scratch;
  auto *x = scratch.get<Register<T>>((2 + 2 * kSets) * D), *dy = x + D, *all_of_gamma = dy + D,
       *all_of_beta = all_of_gamma + kSets * D;
  std::fill_n(all_of_gamma, 2 * kSets * D, Register<T>{});
  if (dgamma != nullptr) std::fill_n(dgamma, D, 0.0);
  if (dbeta != nullptr) std::fill_n(dbeta, D, 0.0);
  for (std::int64_t m = first, unit = 1; m < last; m += L, ++unit) {
    // Lanes without a row are 0 and add nothing.
    const std::int64_t count = std::min<std::int64_t>(L, last - m), set = (unit - 1) % kSets;
    Register<T>*of_gamma = all_of_gamma + set * D, *of_beta = all_of_beta + set * D;
    Register<T> mean = {}, rstd = {};
    std::memcpy(&mean, a.mean + m, static_cast<std::size_t>(count) * sizeof(T));
    std::memcpy(&rstd, a.rstd + m, static_cast<std::size_t>(count) * sizeof(T));
    load_rows(x, a.x + m * D, D, count);
    load_rows(dy, a.dy + m * D, D, count);
    Register<T> lost[1];
    running_sums<T>(lost, D, [=](Register<T>* s, std::int64_t d) EK_INLINE_LAMBDA { s[0] += x[d] - mean; });
    const Xhat<T> xhat({mean, lost[0] / count_of_row, rstd});
    const auto g = [=](std::int64_t d)
                       EK_INLINE_LAMBDA { return a.gamma != nullptr ? dy[d] * a.gamma[d] : dy[d]; };
    Register<T> sums[2];
    running_sums<T>(sums, D, [=](Register<T>* s, std::int64_t d) EK_INLINE_LAMBDA {
      s[0] += g(d) * xhat(x[d]);
      s[1] += g(d);
    });
    const Register<T> along = sums[0] / count_of_row, offset = sums[1] / count_of_row;
    for (std::int64_t d = 0; d < D; ++d) {
      const Register<T> at = xhat(x[d]);
      of_gamma[d] += dy[d] * at;
      of_beta[d] += dy[d];
      x[d] = rstd * (g(d) - offset - at * along);
    }
    if (a.dx != nullptr) store_rows(a.dx + m * D, x, D, count);
    if (unit % kTogether != 0 && m + L < last) continue;
    if (dgamma != nullptr) move_lanes<T>(dgamma, all_of_gamma, D);
    if (dbeta != nullptr) move_lanes<T>(dbeta, all_of_beta, D);
  }
}

template <typename T>
void backward_of_short_rows(const NormBackwardArgs<T>& a) {
  constexpr std::int64_t kChunks = 64;  // at most
  constexpr std::int64_t kFewest = 4;   // blocks of kLanes<T> rows in a chunk, at least
  const std::int64_t blocks = (a.rows() + kLanes<T> - 1) / kLanes<T>;
  const Partial partial = partial_sums(std::clamp<std::int64_t>(blocks / kFewest, 1, kChunks), a.S);
  parallel_for(partial.chunks, 10 * a.S * a.rows() / partial.chunks, [&](std::int64_t k) {
    short_rows_gradients(a, partial.dgamma(a, k), partial.dbeta(a, k),
                         k * blocks / partial.chunks * kLanes<T>,
                         std::min(a.rows(), (k + 1) * blocks / partial.chunks * kLanes<T>));
  });
  partial.add_up(a);
}

}  // namespace

template <typename T>
void layer_norm_forward(const NormForwardArgs<T>& a) {
  if (a.centred && has_short_rows<T>(a.rows(), a.S, 16, 48)) {
    constexpr std::int64_t L = kRegisterLanes<T>;
    parallel_for((a.rows() + L - 1) / L, 5 * a.S * L,
                 [&](std::int64_t i) { normalize_short_rows(a, i * L, std::min(L, a.rows() - i * L)); });
    return;
  }
  const bool streamed = is_streamed<T>(a.rows() * a.S);
  const std::int64_t together = a.S > 1024 ? 1 : kRowsTogether;  // which stay in the first cache
  parallel_for((a.rows() + together - 1) / together, 5 * a.S * together, [&](std::int64_t i) {
    normalize_rows(a, i * together, std::min(a.rows(), (i + 1) * together), streamed);
  });
}

template <typename T>
void layer_norm_backward(const NormBackwardArgs<T>& a) {
  if (a.centred && has_short_rows<T>(a.rows(), a.S, 48, 72)) return backward_of_short_rows(a);
  backward_of_long_rows(a);
}

template void layer_norm_forward(const NormForwardArgs<float>&);
template void layer_norm_forward(const NormForwardArgs<double>&);
template void layer_norm_backward(const NormBackwardArgs<float>&);
template void layer_norm_backward(const NormBackwardArgs<double>&);

}  // namespace evenkeel::cpu::EK_ISA
