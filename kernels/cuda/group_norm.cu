#include "evenkeel/kernels/cuda/norm_ladders.h"

#include <algorithm>
#include <stdexcept>

#include "evenkeel/kernels/cuda/norm_sets.cuh"
#include "evenkeel/kernels/cuda/row_norm.cuh"

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

/// This thread's part of a group's dy and x, `lane_groups` slots apart. Where the group does not fit into the
/// block's registers (IN_REGISTERS false), tiles of K slots per group of lanes are loaded anew for every
/// for_each().
template <typename T, int N, int K, bool IN_REGISTERS>
class GroupPart {
  using Offset = std::conditional_t<IN_REGISTERS, int, std::int64_t>;

 public:
  __device__ __forceinline__ GroupPart(const Slots& slots, const T* dy, const T* x, std::int64_t S)
      : dy_(dy), x_(x), S_(static_cast<Offset>(S)), slots_(slots) {
    if constexpr (IN_REGISTERS) load_tile(0);
  }

  /// f(slot, channel of the group, offset in the group, is it there, dy, x). All threads make the same number
  /// of calls; where a thread has no elements they are not there and zeros.
  template <typename F>
  __device__ __forceinline__ void for_each(const F& f) {
    if constexpr (IN_REGISTERS) {
      visit_tile(0, f);
    } else {
      for (int begin = 0; begin < slots_.count; begin += lane_groups() * K) {
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
  __device__ __forceinline__ int lane_groups() const { return static_cast<int>(blockDim.x) / slots_.lanes; }
  __device__ __forceinline__ Place place(int begin, int k) const {
    const int thread = static_cast<int>(threadIdx.x), lane = thread & (slots_.lanes - 1);
    const int slot = begin + k * lane_groups() + thread / slots_.lanes, channel = slot / slots_.per_plane;
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
/// plane k is stored in slot k * per_plane.
/// Call: all threads of the block, after a barrier. Result: in all of them.
template <typename T>
__device__ __forceinline__ GradientSums<T> group_sums(const Slots& slots, GradientSums<T>* sums,
                                                      const T* gamma, int lanes) {
  const LaneGroup threads{lanes};
  const int lane_groups = static_cast<int>(blockDim.x) / lanes;
  GradientSums<T> group;
  for (std::int64_t begin = 0; begin < slots.channels; begin += lane_groups) {
    const std::int64_t channel = begin + static_cast<int>(threadIdx.x) / lanes;
    const bool there = channel < slots.channels;
    GradientSums<T>* const of_plane = sums + channel * slots.per_plane;
    GradientSums<T> plane;
    for (std::int64_t i = threads.rank(); there && i < slots.per_plane; i += lanes) plane.add(of_plane[i]);
    threads.sum(plane.dy, plane.dy_x, plane.x);
    if (!there || threads.rank() != 0) continue;
    of_plane[0] = plane;
    group.add(plane, gamma != nullptr ? gamma[channel] : T(1));
  }
  block_sum(group.dy, group.dy_x, group.x);
  return group;
}

inline constexpr int kGroupThreads = 512;

/// dx of a group, and dgamma and dbeta of its planes as row n of the partials. A block a group.
/// Scratch: the sums of every slot. Bytes: 3 N C S sizeof(T), 2 N C sizeof(T) for the partials, 3 sizeof(T) a
/// slot; and unless IN_REGISTERS a second reading of dy and x, from the L2 cache.
template <int N, int K, bool IN_REGISTERS, typename T>
__global__ void __launch_bounds__(kGroupThreads, 1)
    group_norm_backward_block(NormBackwardArgs<T> a, Slots slots, GradientSums<Arithmetic<T>>* slot_sums,
                              ParameterPartials<Arithmetic<T>> partials, int plane_lanes,
                              Count<Arithmetic<T>> count) {
  using A = Arithmetic<T>;
  const std::int64_t group = blockIdx.x, begin = group * slots.channels * a.S;
  const auto G = static_cast<unsigned>(a.G);  // at most the blocks of a grid
  const std::int64_t n = blockIdx.x / G, first_channel = blockIdx.x % G * slots.channels;
  const A mean = a.mean[group], rstd = a.rstd[group];
  const A* const gamma = a.gamma != nullptr ? a.gamma + first_channel : nullptr;
  GradientSums<A>* const sums = slot_sums + group * slots.count;
  const LaneGroup threads{slots.lanes};
  GroupPart<T, N, K, IN_REGISTERS> part(slots, a.dy + begin, a.x + begin, a.S);

  using Elements = Vector<T, N>;
  part.for_each([&](auto slot, auto, auto, bool there, const Elements& dy, const Elements& x) {
    GradientSums<A> mine;
    EK_UNROLL
    for (int j = 0; j < N; ++j) {
      if (there) mine.add(dy.at[j], x.at[j] - mean);
    }
    threads.sum(mine.dy, mine.dy_x, mine.x);
    if (slot < slots.count && threads.rank() == 0) sums[slot] = mine;
  });
  __syncthreads();
  const GradientSums<A> total = group_sums(slots, sums, gamma, plane_lanes);

  const auto gradient = InputGradient<A>::of(total, count, mean, rstd);
  for (std::int64_t k = threadIdx.x; k < slots.channels; k += blockDim.x) {
    const GradientSums<A> plane = sums[k * slots.per_plane];
    partials.dgamma(n)[first_channel + k] = plane.dy_xhat(gradient.set.mean.low, rstd);
    partials.dbeta(n)[first_channel + k] = plane.dy;
  }
  if (a.dx == nullptr) return;
  part.for_each([&](auto, auto channel, auto offset, bool there, const Elements& dy, const Elements& x) {
    if (!there) return;
    const A of_channel = gamma != nullptr ? gamma[channel] : A(1);
    Elements dx;
    EK_UNROLL
    for (int j = 0; j < N; ++j) dx.at[j] = static_cast<T>(gradient.at(of_channel, dy.at[j], x.at[j]));
    store<N>(a.dx + begin + offset, dx);
  });
}

// --- launchers ---------------------------------------------------------------------------------------------

/// The vectors of dy and of x in a tile, and those that a thread has in registers if a block's registers can
/// take the group; twice as many as in a tile do not fit where each element has a place of its own.
template <int N, typename T>
inline constexpr int kTile = 32 / static_cast<int>(sizeof(Arithmetic<T>)) / N;
template <int N, typename T>
inline constexpr int kMostInRegisters = N == 1 ? kTile<N, T> : 2 * kTile<N, T>;

/// How many threads have a group in their registers, in vectors of N elements.
template <int N, typename T>
std::int64_t threads_to_hold(const NormBackwardArgs<T>& a) {
  const Slots slots(a.C / a.G, a.S, N);
  return blocks_for(slots.count, kMostInRegisters<N, T>) * slots.lanes;
}

template <int N, bool IN_REGISTERS, typename T>
void backward(const NormBackwardArgs<T>& a, Stream stream) {
  using A = Arithmetic<T>;
  constexpr int K = IN_REGISTERS ? kMostInRegisters<N, T> : kTile<N, T>;
  const Slots slots(a.C / a.G, a.S, N);
  ParameterPartials<A> partials{nullptr, a.N, a.C};
  const std::int64_t slot_bytes =
      a.N * a.G * slots.count * static_cast<std::int64_t>(sizeof(GradientSums<A>));
  auto* const slot_sums =
      static_cast<GradientSums<A>*>(workspace(stream, slot_bytes + ParameterPartials<A>::bytes(a.N, a.C)));
  partials.sums = reinterpret_cast<A*>(slot_sums + a.N * a.G * slots.count);
  const int threads = IN_REGISTERS ? std::max(kWarp, whole_warps(threads_to_hold<N>(a))) : kGroupThreads;
  launch("group_norm_backward", group_norm_backward_block<N, K, IN_REGISTERS, T>,
         {a.N * a.G, threads, 0, stream}, a, slots, slot_sums, partials, lanes_for(slots.per_plane),
         Count<A>(slots.channels * a.S));
  finalize_parameters(a.dgamma, a.dbeta, partials, stream);
}

// --- ladders -----------------------------------------------------------------------------------------------

template <typename T>
struct GroupNorm {
  using ForwardArgs = NormForwardArgs<T>;
  using BackwardArgs = NormBackwardArgs<T>;
  using Sets = Groups;
  static constexpr const char *kForward = "group_norm_forward", *kBackward = "group_norm_backward";

  static RowNorm<T, ChannelAffine<Arithmetic<T>>> rows(const ForwardArgs& a) {
    const std::int64_t channels = a.C / a.G;
    return {a.y,
            a.mean,
            a.rstd,
            a.x,
            {a.gamma, a.beta, a.G, channels, a.S},
            a.N * a.G,
            channels * a.S,
            static_cast<Arithmetic<T>>(a.eps)};
  }
  static bool in_vectors(const ForwardArgs& a) { return a.S % kVector<T> == 0 && are_aligned(a.y, a.x); }
  static bool in_vectors(const BackwardArgs& a) {
    return a.S % kVector<T> == 0 && are_aligned(a.dx, a.dy, a.x);
  }
};

}  // namespace

template <typename T>
Ladder<NormForwardArgs<T>> group_norm_forward_variants() {
  return row_norm_forward_ladder<GroupNorm, T>();
}

template <typename T>
Ladder<NormBackwardArgs<T>> group_norm_backward_variants() {
  using Args = NormBackwardArgs<T>;
  using Op = GroupNorm<T>;
  static constexpr int V = kVector<T>;
  static constexpr Variant<Args> kLadder[] = {
      {"plain", "a thread a group for dx, then a thread a channel for dgamma and dbeta",
       [](const Args&) { return true; },
       [](const Args& a, Stream s) {
         run_set_norm_backward<ThreadGroup>(Op::kBackward, a, Groups::of(a), s);
       }},
      {"tiles", "one kernel: the sums of dx, channel by channel, are those of dgamma and dbeta too",
       [](const Args&) { return true; }, backward<1, false, T>},
      {"block", "tiles, with the group held in registers: read once",
       [](const Args& a) { return threads_to_hold<1>(a) <= kGroupThreads; }, backward<1, true, T>},
      {"tiles_vec", "tiles, 16 bytes an access", [](const Args& a) { return Op::in_vectors(a); },
       backward<V, false, T>},
      {"block_vec", "block, 16 bytes an access",
       [](const Args& a) { return Op::in_vectors(a) && threads_to_hold<V>(a) <= kGroupThreads; },
       backward<V, true, T>},
  };
  return kLadder;
}

#define EK_INSTANTIATE(T)                                            \
  template Ladder<NormForwardArgs<T>> group_norm_forward_variants(); \
  template Ladder<NormBackwardArgs<T>> group_norm_backward_variants();
EK_INSTANTIATE(float)
EK_INSTANTIATE(double)
EK_INSTANTIATE(bf16)
EK_INSTANTIATE(f16)
#undef EK_INSTANTIATE

}  // namespace evenkeel::cuda
