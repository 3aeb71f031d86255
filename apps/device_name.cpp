#include "device_name.h"

#include <fstream>

#include "evenkeel/core/cuda.h"

namespace evenkeel::app {

std::string cpuinfo(std::string_view key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos && colon + 2 < line.size()) {
      return line.substr(colon + 2);
    }
  }
  return "";
}

std::string device_name(Device device) {
  if constexpr (kCudaEnabled) {
    if (!device.is_cpu()) return cuda_device_properties(device.index).name;
  }
  const std::string name = cpuinfo("model name");
  return name.empty() ? "unknown CPU" : name;
}

}  // namespace evenkeel::app
