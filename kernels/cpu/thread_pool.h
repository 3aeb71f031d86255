// The threads behind parallel_for (kernels/cpu/parallel.h): those of oneTBB. Its waiting threads sleep and
// its working ones take over what others have not begun, so that a busy machine slows a loop in proportion
// and no more.
#pragma once

#include <cstdint>

namespace evenkeel::cpu::thread_pool {

/// At most n threads work from now on, the callers of run() included.
void set_limit(int n);

/// Calls call(f, begin, end) for ranges that cover [0, n), of `grain` indices at least, and returns when all
/// have. A thread that waits here works on this loop's ranges only, never on those of a loop around it, as
/// kernels keep scratch memory for each thread. Throws the first exception that a call throws; ranges that
/// had not begun by then are left out.
void run(std::int64_t n, std::int64_t grain,
         void (*call)(const void* f, std::int64_t begin, std::int64_t end), const void* f);

}  // namespace evenkeel::cpu::thread_pool
