// Eight classic bugs of CUDA kernels, each of which at least one build of the executor must catch:
//
//   injected_bugs N    runs kernel N with its bug: exits with an error if that was caught
//   injected_bugs 0    runs all kernels without the bugs: exits with 0
//
//                                       emulated: 3 orders   in 1 order           emulated-asan
//   1 barrier missing after a write     order of threads      race               order of threads
//   2 barrier missing before reuse      -                     race               -
//   3 read past a global buffer         -                     past the end       heap-buffer-overflow
//   4 return before a barrier           never reached         never reached      never reached
//   5 tiled GEMM, one barrier short     order of threads      race               order of threads
//   6 overrun inside [16][17]           -                     -                  index out of bounds
//   7 __syncwarp missing                order of threads      race               order of threads
//   8 h[i] += 1 for atomicAdd           -                     race               -
//
// tests.cmake registers what this table says.
#include "simt/injected_bugs.h"

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace {

/// True if it ended well.
bool run(const InjectedBug& bug, bool with_bug) {
  try {
    if (bug.run(with_bug)) return true;
    std::fprintf(stderr, "%s: wrong numbers\n", bug.name);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", bug.name, error.what());
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<InjectedBug> bugs = injected_bugs();
  const int number = argc == 2 ? std::atoi(argv[1]) : -1;
  if (number < 0 || number > static_cast<int>(bugs.size())) {
    std::fprintf(stderr, "usage: injected_bugs 0..%zu\n", bugs.size());
    return 2;
  }
  if (number > 0) return run(bugs[static_cast<std::size_t>(number) - 1], true) ? 0 : 1;
  bool good = true;
  for (const InjectedBug& bug : bugs) good = run(bug, false) && good;
  return good ? 0 : 1;
}
