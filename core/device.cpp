#include "evenkeel/core/device.h"

#include <charconv>

#include "evenkeel/base/error.h"
#include "evenkeel/core/cuda.h"
#include "evenkeel/kernels/cpu/parallel.h"

namespace evenkeel {

const CudaDevices& cuda_devices() {
  static const CudaDevices devices = [] {
    if constexpr (kCudaEnabled) {
      return cuda::find_devices();
    } else {
      return CudaDevices{0, "this build has no CUDA backend"};
    }
  }();
  return devices;
}

bool is_capturing(Device device) {
  if constexpr (kCudaEnabled) {
    return device.is_cuda() && cuda::is_capturing(device.index);
  } else {
    return false;
  }
}

Device Device::best() { return cuda_devices().count > 0 ? cuda() : cpu(); }

Device Device::parse(std::string_view text) {
  if (text == "auto") return best();
  if (text == "cpu") return cpu();
  if (text == "cuda") return cuda();
  if (text.starts_with("cuda:")) {
    const std::string_view digits = text.substr(5);
    int index = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error == std::errc() && end == digits.data() + digits.size() && index >= 0) return cuda(index);
  }
  fail("unknown device '{}': use auto, cpu, cuda or cuda:N", text);
}

void Device::require_available() const {
  if (is_cpu()) return;
  const CudaDevices& devices = cuda_devices();
  if (0 <= index && index < devices.count) return;
  if (devices.count == 0) {
    fail<DeviceError>("device {} is not available: {}; use --device cpu", str(), devices.reason);
  }
  fail<DeviceError>("device {} is not available: there are {} CUDA devices, cuda:0 to cuda:{}", str(),
                    devices.count, devices.count - 1);
}

std::string Device::str() const { return is_cpu() ? "cpu" : fmt::format("cuda:{}", index); }

int num_threads() { return cpu::num_threads(); }

void set_num_threads(int n) {
  EK_CHECK(n >= 1, "set_num_threads: {} threads asked for, at least 1 is needed", n);
  cpu::set_num_threads(n);
}

}  // namespace evenkeel
