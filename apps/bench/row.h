// A row of the table before anything is measured: an op, its arrays, how it is launched and what it should
// give.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "bench/arrays.h"
#include "evenkeel/core/dispatch.h"

namespace evenkeel::bench {

/// What a row should give for one array: its values, at the elements `at`, or all of them if that is empty.
struct Expected {
  Array values;
  std::vector<reference::Index> at;
};

using Launch = std::function<void()>;

struct Row {
  std::string op, pass, variant;
  std::string layout = "nchw";  // of images
  DType dtype = DType::f32;
  Shape shape;                // of x
  nlohmann::json parameters;  // what else a peer must know
  std::vector<Operand> operands;
  double flops = 0;  // nominal
  /// Fixes the arguments of the kernels on these arrays; the result launches them on the arrays' device.
  std::function<Launch(DeviceArrays&)> bind;
  /// The outputs in f64, from the inputs.
  std::function<std::map<std::string, Expected>(const Values&)> reference;

  /// The bytes if every array is read once and every output is written once.
  double least_bytes() const;
  /// "conv2d forward [64, 1, 28, 28] 4 filters 3x3 f32 nchw": what names a row.
  std::string name() const;
  /// The same for programs: op, pass, variant, dtype, layout, shape, and the parameters.
  nlohmann::json json() const;
};

/// How the elements of a row are stored, and where.
struct Kind {
  DType dtype;
  Device device = Device::cpu();
};
/// A row of an op without parameters, arrays and functions; `flops` is for each element of x.
Row make_row(std::string op, std::string pass, const Shape& x, const Kind& kind, double flops = 0);

/// An op: its listed rows, or those at another shape of x; none where that shape makes no sense for the op.
struct Op {
  std::string name;
  std::function<std::vector<Row>(const Kind&)> listed;
  std::function<std::vector<Row>(const Kind&, const Shape&)> at;
  bool stores_16bit = false;  // its CUDA kernels take bf16 and f16; see bind_for_storage
};
const std::vector<Op>& ops();

/// A row's bind from f.operator()<T>(DeviceArrays&), which returns a Launch.
template <typename F>
auto bind_for(DType dtype, F f) {
  return [=](DeviceArrays& arrays) -> Launch {
    return dispatch_floating(dtype, [&]<typename T>() -> Launch { return f.template operator()<T>(arrays); });
  };
}

/// bind_for with 16-bit types too; f launches with launch_storage.
template <typename F>
auto bind_for_storage(DType dtype, F f) {
  return [=](DeviceArrays& arrays) -> Launch {
    return dispatch_storage(dtype, arrays.device(),
                            [&]<typename T>() -> Launch { return f.template operator()<T>(arrays); });
  };
}

/// A Launch of the kernel `op` (core/dispatch.h) with `args` on the device of `arrays`.
template <auto kCpu, auto kCuda, typename Args>
Launch launch(const char* op, const DeviceArrays& arrays, const Args& args) {
  return [op, args, device = arrays.device()] { run_kernel<kCpu, kCuda>(op, device, args); };
}
template <auto kCpu, auto kCuda, typename Args>
Launch launch_storage(const char* op, const DeviceArrays& arrays, const Args& args) {
  return [op, args, device = arrays.device()] { run_storage_kernel<kCpu, kCuda>(op, device, args); };
}

}  // namespace evenkeel::bench
