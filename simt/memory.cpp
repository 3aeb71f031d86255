#include "evenkeel/simt/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <new>
#include <utility>

#include "evenkeel/simt/asan.h"

namespace simt {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kArenaBytes = std::size_t{4} << 30;  // reserved, not used: pages come when touched

/// Blocks by address. In the ASan build they come from malloc, else from one reserved range of addresses.
struct Device {
  std::map<char*, std::size_t> blocks;
  std::map<char*, std::size_t>::const_iterator found = blocks.end();  // the block of the last address
  std::multimap<std::size_t, char*> free_ranges;
  char* arena = nullptr;
  std::size_t used = 0;
  int accesses = 0;

  Device() {
#ifndef SIMT_ASAN
    void* range = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw std::bad_alloc();
    arena = static_cast<char*>(range);
#endif
  }

  void protect(int protection) const {
    if (used > 0) mprotect(arena, used, protection);
  }

  char* take(std::size_t bytes) {
#ifdef SIMT_ASAN
    void* block = nullptr;
    return posix_memalign(&block, 256, bytes) == 0 ? static_cast<char*>(block) : nullptr;
#else
    const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
    if (const auto range = free_ranges.find(size); range != free_ranges.end()) {
      char* block = range->second;
      free_ranges.erase(range);
      return block;
    }
    if (used + size > kArenaBytes) return nullptr;
    char* block = arena + used;
    used += size;
    return block;
#endif
  }

  void give_back(char* block, std::size_t bytes) {
#ifdef SIMT_ASAN
    (void)bytes;
    std::free(block);
#else
    free_ranges.emplace((bytes + kPage - 1) / kPage * kPage, block);
#endif
  }
};

Device& device() {
  static auto* instance = new Device;
  return *instance;
}

}  // namespace

void* device_allocate(std::size_t bytes) {
  Device& d = device();
  if (bytes > kArenaBytes) return nullptr;
  char* block = d.take(bytes == 0 ? 1 : bytes);
  if (block == nullptr) return nullptr;
  d.blocks.emplace(block, bytes);
  const DeviceAccess access;
  std::memset(block, 0xFF, bytes);
  return block;
}

bool device_free(void* pointer) {
  Device& d = device();
  const auto block = d.blocks.find(static_cast<char*>(pointer));
  if (block == d.blocks.end()) return false;
  d.give_back(block->first, block->second);
  d.blocks.erase(block);
  d.found = d.blocks.end();
  return true;
}

bool in_device_block(const void* address, std::size_t bytes) {
  Device& d = device();
  char* p = const_cast<char*>(static_cast<const char*>(address));
  const auto holds = [&](const std::pair<char* const, std::size_t>& block) {
    return p >= block.first && bytes <= block.second &&
           static_cast<std::size_t>(p - block.first) <= block.second - bytes;
  };
  if (d.found != d.blocks.end() && holds(*d.found)) return true;
  const auto next = d.blocks.upper_bound(p);
  if (next == d.blocks.begin() || !holds(*std::prev(next))) return false;
  d.found = std::prev(next);
  return true;
}

bool is_device_address(const void* address) {
  const Device& d = device();
  const char* p = static_cast<const char*>(address);
  return d.arena != nullptr ? p >= d.arena && p < d.arena + kArenaBytes : in_device_block(address, 1);
}

std::size_t device_offset(const void* address) {
  return static_cast<std::size_t>(static_cast<const char*>(address) - device().arena);
}

std::size_t device_bytes() { return device().used; }

std::string describe_device_address(const void* address) {
  const Device& d = device();
  char* p = const_cast<char*>(static_cast<const char*>(address));
  auto block = d.blocks.upper_bound(p);
  if (block == d.blocks.begin()) return "no device block";
  --block;
  return "device block of " + std::to_string(block->second) + " bytes + " + std::to_string(p - block->first);
}

DeviceAccess::DeviceAccess() {
  if (device().accesses++ == 0) device().protect(PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  if (--device().accesses == 0) device().protect(PROT_NONE);
}

DeviceSnapshot::DeviceSnapshot() {
  for (const auto& [address, bytes] : device().blocks)
    blocks_.push_back({address, {address, address + bytes}});
}

void DeviceSnapshot::restore() const {
  for (const Copy& copy : blocks_) std::memcpy(copy.address, copy.bytes.data(), copy.bytes.size());
}

std::string DeviceSnapshot::difference() const {
  for (const Copy& copy : blocks_) {
    if (std::memcmp(copy.address, copy.bytes.data(), copy.bytes.size()) == 0) continue;
    std::size_t i = 0;
    while (copy.address[i] == copy.bytes[i]) ++i;
    return describe_device_address(copy.address + i);
  }
  return "";
}

}  // namespace simt
