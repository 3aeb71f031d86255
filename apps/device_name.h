// What the system says of the machine.
#pragma once

#include <string>
#include <string_view>

#include "evenkeel/core/device.h"

namespace evenkeel::app {

/// The value of the first "key : value" of /proc/cpuinfo; "" if there is none.
std::string cpuinfo(std::string_view key);

/// "AMD EPYC", "NVIDIA H200".
std::string device_name(Device device);

}  // namespace evenkeel::app
