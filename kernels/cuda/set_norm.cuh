// The normalizations as their formulas say, over any sets of elements: a thread group a set, scalar accesses,
// every pass read anew. These are the first rungs of the ladders. As a thread may have many elements, its
// sums are compensated.
//
// A Sets type says which elements share statistics and which share gamma and beta:
//   count, per_set, parameters, per_parameter
//   set(i)        with offset(k) in x and parameter(k) of element k of set i
//   parameter(p)  with offset(k) in x and set(k) of element k of those with parameter p
#pragma once

#include "evenkeel/kernels/cuda/norm.cuh"

namespace evenkeel::cuda {

/// Quotient and remainder of numbers that are not negative.
struct Division {
  std::int64_t quotient, remainder;
};
__device__ __forceinline__ Division divide(std::int64_t a, std::int64_t b) {
  if ((a | b) >> 32 != 0) return {a / b, a % b};
  const auto small_a = static_cast<std::uint32_t>(a), small_b = static_cast<std::uint32_t>(b);
  return {small_a / small_b, small_a % small_b};  // several times faster
}

/// The elements of channel c of x [N, C, S].
struct ChannelElements {
  std::int64_t C, S, c;
  __device__ __forceinline__ std::int64_t offset(std::int64_t k) const {
    const Division d = divide(k, S);
    return (d.quotient * C + c) * S + d.remainder;
  }
};

inline constexpr int kSetThreads = 256;

/// What else is done with the moments of a set: nothing.
struct NothingElse {
  template <typename T>
  __device__ __forceinline__ void operator()(std::int64_t, const Moments<T>&, const Count<T>&) const {}
};

/// What batch norm does with them: running = (1 - momentum) running + momentum batch, with the unbiased
/// variance; null: not kept.
template <typename A>
struct RunningAverage {
  A *mean, *var;
  A momentum;

  __device__ __forceinline__ void operator()(std::int64_t c, const Moments<A>& batch,
                                             const Count<A>& count) const {
    if (mean == nullptr) return;
    mean[c] = moved_average(mean[c], batch.mean.high, momentum);
    var[c] = moved_average(var[c], batch.m2 / (count.n - 1), momentum);
  }

  template <typename Args>
  static RunningAverage of(const Args& a) {
    return {a.running_mean, a.running_var, static_cast<A>(a.momentum)};
  }
};

/// Statistics and y. Bytes: 2 sizeof(T) an element, and 2 sizeof(T) for the second and third reading, from
/// cache where a set and its neighbours fit there.
template <typename Group, typename Args, typename T, typename Sets, typename Else>
__global__ void __launch_bounds__(kSetThreads)
    set_norm_forward(Args a, const T* x, T* y, Sets sets, Arithmetic<T> eps, Else something_else) {
  using A = Arithmetic<T>;
  const Group threads;
  const std::int64_t number = threads.number();
  if (number >= sets.count) return;
  const auto set = sets.set(number);
  const Count<A> count(sets.per_set);
  const A pivot = sets.per_set > 0 ? static_cast<A>(x[set.offset(0)]) : A(0);
  const Moments<A> m = moments<CompensatedSum<A>, A>(
      threads, count, pivot,
      [&](const auto& f) {
        for (std::int64_t k = threads.rank(); k < sets.per_set; k += threads.size()) f(x[set.offset(k)]);
      },
      a.centred);
  const SetStatistics<A> statistics = m.statistics(count, eps);
  if (threads.rank() == 0) {
    a.mean[number] = statistics.mean.high;
    a.rstd[number] = statistics.rstd;
    something_else(number, m, count);
  }
  for (std::int64_t k = threads.rank(); k < sets.per_set; k += threads.size()) {
    const std::int64_t at = set.offset(k), p = set.parameter(k);
    const A gamma = value_or(a.gamma, p, A(1)), beta = value_or(a.beta, p, A(0));
    y[at] = static_cast<T>(scaled_and_shifted<A>(statistics.xhat(x[at]), gamma, beta));
  }
}

/// dx, and in rest[count] what rounding took from the means. Bytes: 3 sizeof(T) an element, and 2 sizeof(T)
/// for the second reading, from cache where a set and its neighbours fit there.
template <typename Group, typename Args, typename T, typename Sets>
__global__ void __launch_bounds__(kSetThreads)
    set_norm_input_gradient(Args a, const T* x, const T* dy, Sets sets, Arithmetic<T>* rest) {
  using A = Arithmetic<T>;
  const Group threads;
  const std::int64_t number = threads.number();
  if (number >= sets.count) return;
  const auto set = sets.set(number);
  const A mean = a.mean[number], rstd = a.rstd[number];
  CompensatedSum<A> sum_dy, sum_dy_x, sum_x;
  for (std::int64_t k = threads.rank(); k < sets.per_set; k += threads.size()) {
    const std::int64_t at = set.offset(k);
    const A g = value_or(a.gamma, set.parameter(k), A(1)) * dy[at], centred = x[at] - mean;
    sum_dy += g;
    sum_dy_x += g * centred;
    sum_x += centred;
  }
  GradientSums<A> sums{sum_dy, sum_dy_x, sum_x};
  threads.sum(sums.dy, sums.dy_x, sums.x);
  const auto gradient = InputGradient<A>::of(sums, Count<A>(sets.per_set), mean, rstd, a.centred);
  if (threads.rank() == 0) rest[number] = gradient.set.mean.low;
  if (a.dx == nullptr) return;
  for (std::int64_t k = threads.rank(); k < sets.per_set; k += threads.size()) {
    const std::int64_t at = set.offset(k);
    a.dx[at] = static_cast<T>(gradient.at(value_or(a.gamma, set.parameter(k), A(1)), dy[at], x[at]));
  }
}

/// dgamma and dbeta of a parameter by a thread group. Bytes: 2 sizeof(T) an element, and the statistics of
/// its set.
template <typename Group, typename Args, typename T, typename Sets>
__global__ void __launch_bounds__(kSetThreads)
    set_norm_parameter_gradient(Args a, const T* x, const T* dy, Sets sets, const Arithmetic<T>* rest) {
  using A = Arithmetic<T>;
  const Group threads;
  const std::int64_t number = threads.number();
  if (number >= sets.parameters) return;
  const auto parameter = sets.parameter(number);
  CompensatedSum<A> sum_gamma, sum_beta;
  for (std::int64_t k = threads.rank(); k < sets.per_parameter; k += threads.size()) {
    const std::int64_t at = parameter.offset(k), set = parameter.set(k);
    sum_gamma += dy[at] * SetStatistics<A>{{a.mean[set], rest[set]}, a.rstd[set]}.xhat(x[at]);
    sum_beta += dy[at];
  }
  A dgamma = sum_gamma, dbeta = sum_beta;
  threads.sum(dgamma, dbeta);
  if (threads.rank() != 0) return;
  if (a.dgamma != nullptr) a.dgamma[number] = dgamma;
  if (a.dbeta != nullptr) a.dbeta[number] = dbeta;
}

/// The blocks that give each of `count` items a thread group.
template <typename Group>
std::int64_t blocks_of_groups(std::int64_t count) {
  return std::is_same_v<Group, BlockGroup> ? count : blocks_for(count, kSetThreads);
}

template <typename Group, template <typename> typename Args, typename T, typename Sets,
          typename Else = NothingElse>
void run_set_norm_forward(const char* name, const Args<T>& a, const Sets& sets, Stream stream,
                          const Else& something_else = {}) {
  launch(name, set_norm_forward<Group, Args<T>, T, Sets, Else>,
         {blocks_of_groups<Group>(sets.count), kSetThreads, 0, stream}, a, a.x, a.y, sets,
         static_cast<Arithmetic<T>>(a.eps), something_else);
}

/// dx, a set by a thread group, and rest[count] (memory of the caller).
template <typename Group, template <typename> typename Args, typename T, typename Sets>
void run_set_norm_input_gradient(const char* name, const Args<T>& a, const Sets& sets, Arithmetic<T>* rest,
                                 Stream stream) {
  launch(name, set_norm_input_gradient<Group, Args<T>, T, Sets>,
         {blocks_of_groups<Group>(sets.count), kSetThreads, 0, stream}, a, a.x, a.dy, sets, rest);
}

/// Both passes of backward: dx, then dgamma and dbeta if they are wanted.
template <typename Group, template <typename> typename Args, typename T, typename Sets>
void run_set_norm_backward(const char* name, const Args<T>& a, const Sets& sets, Stream stream) {
  using A = Arithmetic<T>;
  A* const rest = static_cast<A*>(workspace(stream, sets.count * static_cast<std::int64_t>(sizeof(A))));
  run_set_norm_input_gradient<Group>(name, a, sets, rest, stream);
  if (a.dgamma == nullptr && a.dbeta == nullptr) return;
  launch(name, set_norm_parameter_gradient<Group, Args<T>, T, Sets>,
         {blocks_of_groups<Group>(sets.parameters), kSetThreads, 0, stream}, a, a.x, a.dy, sets, rest);
}

}  // namespace evenkeel::cuda
