// What -fsanitize=thread makes a kernel call at every load and store: the race detector takes the place of
// the sanitizer's own runtime.
#include <cstddef>
#include <cstring>

#include "evenkeel/simt/block.h"

#ifdef SIMT_RACE_DETECTOR

#  define HOOK(name, bytes, write)                                                   \
    void name(void* address) {                                                       \
      if (simt::is_watched(address))                                                 \
        simt::race_check(address, bytes, write, __builtin_return_address(0), false); \
    }
#  define HOOKS(bytes)                               \
    HOOK(__tsan_read##bytes, bytes, false)           \
    HOOK(__tsan_write##bytes, bytes, true)           \
    HOOK(__tsan_unaligned_read##bytes, bytes, false) \
    HOOK(__tsan_unaligned_write##bytes, bytes, true)

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* address, std::size_t bytes) {
  simt::race_check(address, bytes, false, __builtin_return_address(0), false);
}
void __tsan_write_range(void* address, std::size_t bytes) {
  simt::race_check(address, bytes, true, __builtin_return_address(0), false);
}
// What clang makes of copies and fills.
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  __tsan_read_range(const_cast<void*>(from), bytes);
  __tsan_write_range(to, bytes);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  __tsan_write_range(to, bytes);
  return std::memset(to, value, bytes);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

#endif
