// From a device and a dtype, known when the program runs, to the kernel compiled for them.
#pragma once

#include <utility>

#include "evenkeel/core/device.h"
#include "evenkeel/core/dtype.h"

namespace evenkeel {

/// Runs a kernel on `device`, where the tensors of the op are (core/tensor.h has checked that it is one):
/// kCpu(args), or kCuda(args, stream) on the stream of the device. `op` is the name in profiles (OpScope).
/// The args are a struct of kernels/<op>.h, both functions are declared beside it. In a build without CUDA
/// `device` cannot be a CUDA device, and kCuda need not be defined.
///
///   run_kernel<cpu::matmul<T>, cuda::matmul<T>>("matmul", a.device(), args);
template <auto kCpu, auto kCuda, typename Args>
void run_kernel(const char* op, Device device, const Args& args) {
  const OpScope scope(op, device);
  if (device.is_cpu()) {
    kCpu(args);
  } else if constexpr (kCudaEnabled) {
    kCuda(args, current_stream(device.index));
  } else {
    device.require_available();
  }
}

/// The same for a kernel that only CUDA has. In a build without CUDA nothing happens, as `device` cannot be a
/// CUDA device.
template <auto kCuda, typename Args>
void run_cuda_kernel(const char* op, Device device, const Args& args) {
  if constexpr (kCudaEnabled) {
    const OpScope scope(op, device);
    kCuda(args, current_stream(device.index));
  }
}

/// run_kernel within dispatch_storage, for args of element type T: where T has 16 bits only kCuda need be
/// defined.
template <auto kCpu, auto kCuda, template <typename> typename Args, typename T>
void run_storage_kernel(const char* op, Device device, const Args<T>& args) {
  if constexpr (kIs16Bit<T>) {
    run_cuda_kernel<kCuda>(op, device, args);
  } else {
    run_kernel<kCpu, kCuda>(op, device, args);
  }
}

/// Calls f.operator()<T>() with the type that `dtype` names, one of float and double. Errors name `op`, by
/// default the function that calls.
template <typename F>
decltype(auto) dispatch_floating(DType dtype, F&& f, const char* op = __builtin_FUNCTION()) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::bf16:
    case DType::f16:
      fail("{}: computes in f32 and f64, not in {}; convert with to(DType::f32)", op, name_of(dtype));
    default:
      fail("{}: expected a floating-point tensor, got {}; convert it with to(DType::f32)", op,
           name_of(dtype));
  }
}

/// Throws Error unless tensors of `dtype` can be computed on: those of 16 bits on CUDA devices only.
inline void check_storage(const char* op, DType dtype, Device device) {
  EK_CHECK(!is_16bit(dtype) || device.is_cuda(),
           "{}: {} is computed on CUDA devices only; convert with to(DType::f32)", op, name_of(dtype));
}

/// dispatch_floating for ops whose CUDA kernels also take 16-bit tensors, computing in Arithmetic<T>: T is
/// one of float, double, bf16 and f16. To be used with run_storage_kernel.
template <typename F>
decltype(auto) dispatch_storage(DType dtype, Device device, F&& f, const char* op = __builtin_FUNCTION()) {
  check_storage(op, dtype, device);
  switch (dtype) {
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f16:
      return f.template operator()<f16>();
    default:
      return dispatch_floating(dtype, std::forward<F>(f), op);
  }
}

/// Calls f.operator()<T>() with the type that `dtype` names, any of them.
template <typename F>
decltype(auto) dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::f16:
      return f.template operator()<f16>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::u8:
      return f.template operator()<std::uint8_t>();
    default:
      return dispatch_floating(dtype, std::forward<F>(f));
  }
}

}  // namespace evenkeel
