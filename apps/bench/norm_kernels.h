// The kernels that a row of a normalization can launch: what the dispatcher chooses, and the rungs of its
// ladder.
#pragma once

#include <utility>

#include "bench/row.h"
#include "evenkeel/kernels/variants.h"

namespace evenkeel::bench {

using Bind = std::function<Launch(DeviceArrays&)>;

/// The kernel that the dispatcher chooses, and on CUDA each rung of the ladder by its name.
struct Kernel {
  Bind chosen = {};
  std::vector<std::pair<std::string, Bind>> rungs = {};
};

/// A function of the library and its ladder: EK_NORM_KERNEL(name).
template <typename LaunchOf, typename LadderOf>
struct KernelFunctions {
  LaunchOf launch;
  LadderOf ladder;
};
template <typename LaunchOf, typename LadderOf>
KernelFunctions(LaunchOf, LadderOf) -> KernelFunctions<LaunchOf, LadderOf>;

/// The kernel of one pass. make_args.operator()<T>(arrays) gives its args, set_sizes(args) sets the sizes
/// alone, which is what rungs choose by; launch and ladder are the library's (EK_NORM_KERNEL).
template <template <typename> typename Args, typename MakeArgs, typename SetSizes, typename Functions>
Kernel make_kernel(const Kind& kind, MakeArgs make_args, SetSizes set_sizes, Functions functions) {
  Kernel kernel;
  kernel.chosen = bind_for_storage(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    return functions.launch.template operator()<T>(make_args.template operator()<T>(a), a);
  });
  if constexpr (kCudaEnabled) {
    if (!kind.device.is_cuda()) return kernel;
    dispatch_storage(kind.dtype, kind.device, [&]<typename T>() {
      Args<T> sizes{};
      set_sizes(sizes);
      for (const Variant<Args<T>>& v : functions.ladder.template operator()<T>()) {
        if (!v.supports(sizes)) continue;
        kernel.rungs.emplace_back(v.name, [=](DeviceArrays& a) -> Launch {
          const Args<T> args = make_args.template operator()<T>(a);
          return [=, run = v.run, device = a.device()] { run(args, current_stream(device.index)); };
        });
      }
    });
  }
  return kernel;
}

}  // namespace evenkeel::bench

#define EK_NORM_KERNEL(function)                                                      \
  ::evenkeel::bench::KernelFunctions {                                                \
    []<typename T>(const auto& args, DeviceArrays& a) {                               \
      return launch_storage<cpu::function<T>, cuda::function<T>>(#function, a, args); \
    },                                                                                \
        []<typename T>() { return cuda::function##_variants<T>(); }                   \
  }
