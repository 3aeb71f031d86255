// A libFuzzer program of the target EK_TARGET: see run.sh.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    evenkeel::fuzz::EK_TARGET({reinterpret_cast<const char*>(data), size});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "broken: %s\n", e.what());
    std::abort();
  }
  return 0;
}
