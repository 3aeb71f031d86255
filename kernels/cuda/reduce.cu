#include "evenkeel/kernels/reduce.h"

#include <cmath>
#include <limits>

#include "evenkeel/kernels/cuda/strided.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kSerial = 32;        // so few elements an output are one thread's work
constexpr std::int64_t kChunk = 64 * 1024;  // elements of a reduction that one block takes

template <typename T>
__device__ bool is_larger(T x, T than) {
  return x > than || (x != x && than == than);
}

// What reductions differ in: the state of a part, how an element enters it, and how parts are merged. Parts
// are always merged in the same order.

template <typename T>
struct Sum {
  using State = double;
  using Output = T;
  static constexpr const char* kName = "sum";
  static __device__ State none() { return 0; }
  static __device__ State take(State s, T x, std::int64_t) { return s + static_cast<double>(x); }
  static __device__ State merge(State a, State b) { return a + b; }
  static __device__ Output result(State s) { return static_cast<T>(s); }
};

template <typename T>
struct Position {
  T value;
  std::int64_t index;  // -1: of no element
};

template <typename T>
struct Argmax {
  using State = Position<T>;
  using Output = std::int64_t;
  static constexpr const char* kName = "argmax";
  static __device__ State none() { return {T(0), -1}; }
  static __device__ State take(State s, T x, std::int64_t i) { return merge(s, {x, i}); }
  /// The larger value; of equal ones, or of two NaN, the first.
  static __device__ State merge(State a, State b) {
    if (b.index < 0) return a;
    if (a.index < 0 || is_larger(b.value, a.value)) return b;
    if (is_larger(a.value, b.value)) return a;
    return a.index < b.index ? a : b;
  }
  static __device__ Output result(State s) { return s.index; }
};

template <typename T>
struct Max : Argmax<T> {
  using Output = T;
  static constexpr const char* kName = "max";
  static __device__ Output result(Position<T> s) { return s.value; }
};

/// The input of a reduction; `chunks` parts an output.
template <typename T>
struct Input {
  const T* x;
  Extents kept, kept_strides, reduced, reduced_strides;
  std::int64_t outputs, count, chunks;
};

/// y[o] over few elements: a thread an output. Bytes: the input once, the output once.
template <typename R, typename T>
__global__ void __launch_bounds__(kThreads) reduce_serial_kernel(typename R::Output* y, Input<T> in) {
  const std::int64_t o = thread_number();
  if (o >= in.outputs) return;
  const T* x = in.x + offset_of(o, in.kept, in.kept_strides);
  auto state = R::none();
  for (std::int64_t i = 0; i < in.count; ++i)
    state = R::take(state, x[offset_of(i, in.reduced, in.reduced_strides)], i);
  y[o] = R::result(state);
}

/// A block per output and chunk: thread t takes elements t, t + 256, ... of its chunk, then a tree merges the
/// threads. Writes y where there is one chunk, else part[o * chunks + chunk]. Bytes: the input once.
template <typename R, typename T>
__global__ void __launch_bounds__(kThreads)
    reduce_block_kernel(typename R::Output* y, typename R::State* part, Input<T> in) {
  SIMT_SHARED(typename R::State, states, [kThreads]);
  const std::int64_t o = blockIdx.x / in.chunks, chunk = blockIdx.x % in.chunks;
  const T* x = in.x + offset_of(o, in.kept, in.kept_strides);
  const std::int64_t end = min((chunk + 1) * kChunk, in.count);
  auto state = R::none();
  for (std::int64_t i = chunk * kChunk + threadIdx.x; i < end; i += kThreads)
    state = R::take(state, x[offset_of(i, in.reduced, in.reduced_strides)], i);
  states[threadIdx.x] = state;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) states[threadIdx.x] = R::merge(states[threadIdx.x], states[threadIdx.x + half]);
  }
  if (threadIdx.x > 0) return;
  if (in.chunks == 1) {
    y[o] = R::result(states[0]);
  } else {
    part[blockIdx.x] = states[0];
  }
}

/// y[o] from its parts, in their order. Bytes: the parts once.
template <typename R>
__global__ void __launch_bounds__(kThreads)
    reduce_parts_kernel(typename R::Output* y, const typename R::State* part, std::int64_t outputs,
                        std::int64_t chunks) {
  const std::int64_t o = thread_number();
  if (o >= outputs) return;
  auto state = R::none();
  for (std::int64_t c = 0; c < chunks; ++c) state = R::merge(state, part[o * chunks + c]);
  y[o] = R::result(state);
}

template <typename R, typename T>
void reduce(typename R::Output* y, Input<T> in, Stream stream) {
  in.outputs = count_of(in.kept);
  in.count = count_of(in.reduced);
  coalesce(in.kept, in.kept_strides);
  coalesce(in.reduced, in.reduced_strides);
  const LaunchConfig thread_each{blocks_for(in.outputs, kThreads), kThreads, 0, stream};
  if (in.count <= kSerial) {
    launch(R::kName, reduce_serial_kernel<R, T>, thread_each, y, in);
    return;
  }
  using State = typename R::State;
  in.chunks = blocks_for(in.count, kChunk);
  const std::int64_t blocks = in.outputs * in.chunks;
  State* part = nullptr;
  if (in.chunks > 1)
    part = static_cast<State*>(workspace(stream, blocks * static_cast<std::int64_t>(sizeof(State))));
  launch(R::kName, reduce_block_kernel<R, T>, {blocks, kThreads, 0, stream}, y, part, in);
  if (in.chunks > 1)
    launch(R::kName, reduce_parts_kernel<R>, thread_each, y, static_cast<const State*>(part), in.outputs,
           in.chunks);
}

template <typename Args>
auto input_of(const Args& a) {
  return Input{a.x, a.kept, a.kept_strides, a.reduced, a.reduced_strides, 0, 0, 0};
}

}  // namespace

template <typename T>
void sum(const ReduceArgs<T>& args, Stream stream) {
  reduce<Sum<T>>(args.y, input_of(args), stream);
}
template <typename T>
void max(const ReduceArgs<T>& args, Stream stream) {
  reduce<Max<T>>(args.y, input_of(args), stream);
}
template <typename T>
void argmax(const ArgmaxArgs<T>& args, Stream stream) {
  reduce<Argmax<T>>(args.index, input_of(args), stream);
}

template void sum(const ReduceArgs<float>&, Stream);
template void sum(const ReduceArgs<double>&, Stream);
template void max(const ReduceArgs<float>&, Stream);
template void max(const ReduceArgs<double>&, Stream);
template void max(const ReduceArgs<std::int64_t>&, Stream);
template void argmax(const ArgmaxArgs<float>&, Stream);
template void argmax(const ArgmaxArgs<double>&, Stream);
template void argmax(const ArgmaxArgs<std::int64_t>&, Stream);

}  // namespace evenkeel::cuda
