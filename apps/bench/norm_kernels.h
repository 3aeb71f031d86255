// The kernels that a row of a normalization can launch: what the dispatcher chooses, and the rungs of its
// ladder.
#pragma once

#include <utility>

#include "bench/ladder/norm_ladders.h"
#include "bench/row.h"

namespace evenkeel::bench {

using Bind = std::function<Launch(DeviceArrays&)>;

/// The kernel that the dispatcher chooses, and on CUDA each rung of the ladder by its name.
struct Kernel {
  Bind chosen = {};
  std::vector<std::pair<std::string, Bind>> rungs = {};
};

/// The kernel of one pass. make_args.operator()<T>(arrays) gives its args, without arrays their sizes alone,
/// which is what rungs choose by; rungs_of.operator()<T>(partition) are all rungs; launch.operator()<T>(args,
/// arrays) gives the Launch of the library's function.
template <typename MakeArgs, typename RungsOf, typename LaunchOf>
Kernel make_kernel(const Kind& kind, MakeArgs make_args, RungsOf rungs_of, LaunchOf launch) {
  Kernel kernel;
  kernel.chosen = bind_for_storage(kind.dtype, [=]<typename T>(DeviceArrays& a) {
    return launch.template operator()<T>(make_args.template operator()<T>(&a), a);
  });
  if constexpr (kCudaEnabled) {
    if (!kind.device.is_cuda()) return kernel;
    dispatch_storage(kind.dtype, kind.device, [&]<typename T>() {
      const auto sizes = make_args.template operator()<T>(nullptr);
      for (const auto& v : rungs_of.template operator()<T>(sizes.partition)) {
        if (!v.supports(sizes)) continue;
        kernel.rungs.emplace_back(v.name, [=](DeviceArrays& a) -> Launch {
          const auto args = make_args.template operator()<T>(&a);
          return [=, run = v.run, device = a.device()] { run(args, current_stream(device.index)); };
        });
      }
    });
  }
  return kernel;
}

}  // namespace evenkeel::bench
