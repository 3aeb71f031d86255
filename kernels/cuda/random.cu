#include "evenkeel/kernels/random.h"

#include "evenkeel/kernels/cuda/vector.cuh"

namespace evenkeel::cuda {
namespace {

constexpr int kThreads = 256;

/// Maps the four numbers of a Philox block to four values.
template <typename T>
struct Uniform {
  UniformInterval<T> interval;
  __device__ void operator()(const r123::Philox4x32::ctr_type& bits, T (&out)[4]) const {
    EK_UNROLL
    for (int k = 0; k < 4; ++k) out[k] = interval.at(unit_interval(bits[k]));
  }
};

/// Box and Muller, in f64; 1 - u is in (0, 1], so that the logarithm is finite.
template <typename T>
struct Normal {
  double mean, std;
  __device__ void operator()(const r123::Philox4x32::ctr_type& bits, T (&out)[4]) const {
    EK_UNROLL
    for (int k = 0; k < 4; k += 2) {
      const double radius = std * sqrt(-2 * log(1.0 - unit_interval(bits[k])));
      double sine, cosine;
      sincospi(2.0 * unit_interval(bits[k + 1]), &sine, &cosine);
      out[k] = static_cast<T>(mean + radius * cosine);
      out[k + 1] = static_cast<T>(mean + radius * sine);
    }
  }
};

/// y [n]: a thread per Philox block, which is four elements. Bytes: n sizeof(T).
template <typename T, typename F>
__global__ void __launch_bounds__(kThreads) random_kernel(T* y, std::int64_t n, RandomKey key, F make) {
  const std::int64_t block = thread_number(), i = 4 * block;
  if (i >= n) return;
  T values[4];
  make(philox(key, static_cast<std::uint64_t>(block)), values);
  EK_UNROLL
  for (int k = 0; k < 4; ++k) {
    if (i + k < n) y[i + k] = values[k];
  }
}

template <typename T, typename F>
void fill_from(const char* name, const RandomArgs<T>& a, F make, Stream stream) {
  launch(name, random_kernel<T, F>, {blocks_for(a.n, 4 * kThreads), kThreads, 0, stream}, a.y, a.n, a.key,
         make);
}

}  // namespace

template <typename T>
void uniform(const RandomArgs<T>& a, Stream stream) {
  fill_from("uniform", a, Uniform<T>{{a.a, a.b}}, stream);
}

template <typename T>
void normal(const RandomArgs<T>& a, Stream stream) {
  fill_from("normal", a, Normal<T>{a.a, a.b}, stream);
}

template void uniform(const RandomArgs<float>&, Stream);
template void uniform(const RandomArgs<double>&, Stream);
template void normal(const RandomArgs<float>&, Stream);
template void normal(const RandomArgs<double>&, Stream);

}  // namespace evenkeel::cuda
