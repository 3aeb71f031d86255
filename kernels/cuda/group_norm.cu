#include "kernels/group_norm.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/row_norm.cuh"

namespace evenkeel::cuda {
namespace {

/// Backward cuts each plane of a group into `per_plane` slots of lanes*N elements, the last one perhaps
/// shorter: `lanes` neighbouring lanes work on a slot, so that one sum over lanes belongs to one channel.
/// Slot s of a group lies in its channel s / per_plane.
struct Slots {
  int lanes, per_plane, count;
  std::int64_t channels;

  Slots(std::int64_t channels_, std::int64_t S, int N)
      : lanes(lanes_for(blocks_for(S, N))), channels(channels_) {
    const std::int64_t of_plane = std::max<std::int64_t>(1, blocks_for(S, lanes * N));
    if (of_plane * channels > INT32_MAX / 2) throw std::runtime_error("group_norm: a group is too large");
    per_plane = static_cast<int>(of_plane);
    count = static_cast<int>(of_plane * channels);
  }
};

/// This thread's part of a group's dy and x, `teams` slots apart. Where a block cannot hold the group
/// (HELD false) tiles of K slots a team are loaded anew for every for_each().
template <typename T, int N, int K, bool HELD>
class GroupPart {
  using Offset = std::conditional_t<HELD, int, std::int64_t>;

 public:
  __device__ __forceinline__ GroupPart(const Slots& slots, const T* dy, const T* x, std::int64_t S)
      : dy_(dy), x_(x), S_(static_cast<Offset>(S)), slots_(slots) {
    if constexpr (HELD) load_tile(0);
  }

  /// f(slot, channel of the group, offset in the group, is it there, dy, x). All threads make the same number
  /// of calls; where a thread has no elements they are not there and zeros.
  template <typename F>
  __device__ __forceinline__ void for_each(const F& f) {
    if constexpr (HELD) {
      visit_tile(0, f);
    } else {
      for (int begin = 0; begin < slots_.count; begin += teams() * K) {
        load_tile(begin);
        visit_tile(begin, f);
      }
    }
  }

 private:
  struct Place {
    int slot, channel;
    Offset offset;
    bool there;
  };
  __device__ __forceinline__ int teams() const { return static_cast<int>(blockDim.x) / slots_.lanes; }
  __device__ __forceinline__ Place place(int begin, int k) const {
    const int thread = static_cast<int>(threadIdx.x), lane = thread & (slots_.lanes - 1);
    const int slot = begin + k * teams() + thread / slots_.lanes, channel = slot / slots_.per_plane;
    const Offset s = (static_cast<Offset>(slot - channel * slots_.per_plane) * slots_.lanes + lane) * N;
    return {slot, channel, channel * S_ + s, slot < slots_.count && s < S_};
  }
  __device__ __forceinline__ void load_tile(int begin) {
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const Place p = place(begin, k);
      dy_part_[k] = p.there ? load<N>(dy_ + p.offset) : Vector<T, N>{};
      x_part_[k] = p.there ? load<N>(x_ + p.offset) : Vector<T, N>{};
    }
  }
  template <typename F>
  __device__ __forceinline__ void visit_tile(int begin, const F& f) {
    EK_UNROLL
    for (int k = 0; k < K; ++k) {
      const Place p = place(begin, k);
      f(p.slot, p.channel, p.offset, p.there, dy_part_[k], x_part_[k]);
    }
  }

  const T *dy_, *x_;
  Offset S_;
  const Slots& slots_;
  Vector<T, N> dy_part_[K], x_part_[K];
};

/// The sums of g = gamma dy over a group from those of its slots, which become sums of planes: the sum of
/// plane k is left in slot k * per_plane.
/// Call: all threads of the block, after a barrier. Result: in all of them.
template <typename T>
__device__ __forceinline__ GradientSums<T> group_sums(const Slots& slots, GradientSums<T>* sums,
                                                      const T* gamma, int lanes) {
  const LaneTeam team{lanes};
  const int teams = static_cast<int>(blockDim.x) / lanes;
  GradientSums<T> group;
  for (std::int64_t begin = 0; begin < slots.channels; begin += teams) {
    const std::int64_t channel = begin + static_cast<int>(threadIdx.x) / lanes;
    const bool there = channel < slots.channels;
    GradientSums<T>* const of_plane = sums + channel * slots.per_plane;
    GradientSums<T> plane;
    for (std::int64_t i = team.rank(); there && i < slots.per_plane; i += lanes) plane.add(of_plane[i]);
    team.sum(plane.dy, plane.dy_x, plane.x);
    if (!there || team.rank() != 0) continue;
    of_plane[0] = plane;
    group.add(plane, gamma != nullptr ? gamma[channel] : T(1));
  }
  block_sum(group.dy, group.dy_x, group.x);
  return group;
}

inline constexpr int kGroupThreads = 512;

/// dx of a group, and dgamma and dbeta of its planes as row n of the partials. A block a group.
/// Scratch: the sums of every slot. Bytes: 3 N C S sizeof(T), 2 N C sizeof(T) for the partials, 3 sizeof(T) a
/// slot; and unless HELD a second reading of dy and x, from the L2 cache.
template <int N, int K, bool HELD, typename T>
__global__ void __launch_bounds__(kGroupThreads)
    group_norm_backward_block(GroupNormBackwardArgs<T> a, Slots slots, GradientSums<T>* slot_sums,
                              ParameterPartials<T> partials, int plane_lanes) {
  const std::int64_t group = blockIdx.x, begin = group * slots.channels * a.S;
  const std::int64_t n = group / a.G, first_channel = group % a.G * slots.channels;
  const T mean = a.mean[group], rstd = a.rstd[group];
  const T* const gamma = a.gamma != nullptr ? a.gamma + first_channel : nullptr;
  GradientSums<T>* const sums = slot_sums + group * slots.count;
  const LaneTeam team{slots.lanes};
  GroupPart<T, N, K, HELD> part(slots, a.dy + begin, a.x + begin, a.S);

  using Elements = Vector<T, N>;
  part.for_each([&](auto slot, auto, auto, bool there, const Elements& dy, const Elements& x) {
    GradientSums<T> mine;
    EK_UNROLL
    for (int j = 0; j < N; ++j) {
      if (there) mine.add(dy.at[j], x.at[j] - mean);
    }
    team.sum(mine.dy, mine.dy_x, mine.x);
    if (slot < slots.count && team.rank() == 0) sums[slot] = mine;
  });
  __syncthreads();
  const GradientSums<T> total = group_sums(slots, sums, gamma, plane_lanes);

  const auto gradient = InputGradient<T>::of(total, Count<T>(slots.channels * a.S), mean, rstd);
  for (std::int64_t k = threadIdx.x; k < slots.channels; k += blockDim.x) {
    const GradientSums<T> plane = sums[k * slots.per_plane];
    partials.dgamma(n)[first_channel + k] = plane.dy_xhat(gradient.mean.low, rstd);
    partials.dbeta(n)[first_channel + k] = plane.dy;
  }
  if (a.dx == nullptr) return;
  part.for_each([&](auto, auto channel, auto offset, bool there, const Elements& dy, const Elements& x) {
    if (!there) return;
    const T scale = gamma != nullptr ? gamma[channel] * rstd : rstd;
    Elements dx;
    EK_UNROLL
    for (int j = 0; j < N; ++j) dx.at[j] = gradient.at(scale, dy.at[j], x.at[j]);
    store<N>(a.dx + begin + offset, dx);
  });
}

/// Chooses by the size of a group.
template <int N, typename T>
void backward(const GroupNormBackwardArgs<T>& a, Stream stream) {
  constexpr int K = 64 / static_cast<int>(sizeof(T)) / N;
  const Slots slots(a.C / a.G, a.S, N);
  ParameterPartials<T> partials{nullptr, a.N, a.C};
  const std::int64_t slot_bytes =
      a.N * a.G * slots.count * static_cast<std::int64_t>(sizeof(GradientSums<T>));
  auto* const slot_sums =
      static_cast<GradientSums<T>*>(workspace(stream, slot_bytes + ParameterPartials<T>::bytes(a.N, a.C)));
  partials.sums = reinterpret_cast<T*>(slot_sums + a.N * a.G * slots.count);
  const std::int64_t threads = blocks_for(slots.count, K) * slots.lanes;  // to hold a group
  const bool held = threads <= kGroupThreads;
  const auto kernel =
      held ? group_norm_backward_block<N, K, true, T> : group_norm_backward_block<N, K / 2, false, T>;
  launch("group_norm_backward", kernel, {a.N * a.G, held ? whole_warps(threads) : kGroupThreads, 0, stream},
         a, slots, slot_sums, partials, lanes_for(slots.per_plane));
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

}  // namespace

template <typename T>
void group_norm_forward(const GroupNormForwardArgs<T>& a, Stream stream) {
  const std::int64_t channels = a.C / a.G;
  const bool in_vectors = a.S % kVector<T> == 0 && are_aligned(a.y, a.x);
  const RowNorm<T, ChannelAffine<T>> groups{a.y,
                                            a.mean,
                                            a.rstd,
                                            a.x,
                                            {a.gamma, a.beta, a.G, channels, a.S},
                                            a.N * a.G,
                                            channels * a.S,
                                            static_cast<T>(a.eps)};
  row_norm_forward("group_norm_forward", groups, in_vectors, stream);
}

template <typename T>
void group_norm_backward(const GroupNormBackwardArgs<T>& a, Stream stream) {
  if (a.S % kVector<T> == 0 && are_aligned(a.dx, a.dy, a.x))
    backward<kVector<T>>(a, stream);
  else
    backward<1>(a, stream);
}

template void group_norm_forward(const GroupNormForwardArgs<float>&, Stream);
template void group_norm_forward(const GroupNormForwardArgs<double>&, Stream);
template void group_norm_backward(const GroupNormBackwardArgs<float>&, Stream);
template void group_norm_backward(const GroupNormBackwardArgs<double>&, Stream);

}  // namespace evenkeel::cuda
