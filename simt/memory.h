// The emulated device's memory. The host may not touch it except through the runtime API: outside of kernels
// and copies its pages are not accessible (in the ASan build each block has red zones instead).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace simt {

/// Null if it does not fit. Filled with NaN bytes.
void* device_allocate(std::size_t bytes);
/// False if `pointer` is not the start of a block.
bool device_free(void* pointer);
/// True if [address, address + bytes) lies within one block of device memory.
bool in_device_block(const void* address, std::size_t bytes);
/// True if the address belongs to the device, in a block or not.
bool is_device_address(const void* address);
/// The number of the address within the device's memory, for the race detector's shadow.
std::size_t device_offset(const void* address);
std::size_t device_bytes();
/// "device block of 512 bytes + 8", for messages.
std::string describe_device_address(const void* address);

/// While one is alive the device's pages are accessible.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

/// The bytes of all blocks: to run a kernel again from the same start, and to compare what it left. Needs
/// DeviceAccess.
class DeviceSnapshot {
 public:
  DeviceSnapshot();
  void restore() const;
  /// Where memory differs from the snapshot, or "".
  std::string difference() const;

 private:
  struct Copy {
    char* address;
    std::vector<char> bytes;
  };
  std::vector<Copy> blocks_;
};

}  // namespace simt
