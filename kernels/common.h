// What every kernel header shares. Kernels know raw pointers, sizes and a stream, and nothing of Tensor.
//
// The laws of this folder:
//  - one header per op, with an args struct and the declarations of cpu::f and cuda::f;
//  - members of args come in the order outputs, saved, inputs, parameters, sizes;
//  - arrays are dense and row-major unless strides are given, which count elements;
//  - a backward kernel overwrites its outputs; only the autograd engine accumulates;
//  - a null pointer for an optional output means "not wanted", for an optional input "not there";
//  - the bits of a result depend on neither the number of threads nor the order in which blocks run.
#pragma once

#include <cstdint>

#include "evenkeel/kernels/isa.h"

#ifdef __CUDACC__
#  define EK_HOST_DEVICE __host__ __device__
#else
#  define EK_HOST_DEVICE
#endif

/// Before a function that says a formula for both backends. On the CPU it becomes a part of its caller, of
/// which there is a version for each instruction set (kernels/isa.h).
#ifdef __CUDACC__
#  define EK_FORMULA __host__ __device__ __forceinline__
#else
#  define EK_FORMULA inline __attribute__((always_inline))
#endif

struct CUstream_st;

namespace evenkeel {

/// A CUDA stream, without CUDA's headers.
using Stream = CUstream_st*;

#ifdef EVENKEEL_WITH_CUDA
inline constexpr bool kCudaEnabled = true;
#else
inline constexpr bool kCudaEnabled = false;
#endif

/// The most axes that a tensor can have.
inline constexpr int kMaxRank = 8;

/// Sizes or strides of up to kMaxRank axes, outermost first.
struct Extents {
  int rank = 0;
  std::int64_t at[kMaxRank] = {};
};

}  // namespace evenkeel
