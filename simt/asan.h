// AddressSanitizer, where the build has it.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#  define SIMT_ASAN
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define SIMT_ASAN
#  endif
#endif

#ifdef SIMT_ASAN
#  include <sanitizer/asan_interface.h>
#  include <sanitizer/common_interface_defs.h>
#  define SIMT_POISON(address, bytes) __asan_poison_memory_region(address, bytes)
#  define SIMT_UNPOISON(address, bytes) __asan_unpoison_memory_region(address, bytes)
#else
#  define SIMT_POISON(address, bytes) ((void)0)
#  define SIMT_UNPOISON(address, bytes) ((void)0)
#endif
