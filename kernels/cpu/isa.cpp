#include "evenkeel/kernels/isa.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>

#include "evenkeel/base/error.h"
#include "evenkeel/kernels/cpu/simd.h"

namespace evenkeel::cpu {
namespace {

constexpr Isa kIsas[] = {Isa::avx512, Isa::avx2, Isa::baseline};  // the best first

bool is_supported([[maybe_unused]] Isa isa) {
#ifdef EVENKEEL_CPU_ISAS
  if (isa == Isa::avx512) return __builtin_cpu_supports("x86-64-v4");
  if (isa == Isa::avx2) return __builtin_cpu_supports("x86-64-v3");
#endif
  return isa == Isa::baseline;
}

Isa first_isa() {
  const char* most = std::getenv("EVENKEEL_MAX_CPU_ISA");
  if (most == nullptr || *most == '\0') return supported_isas().front();
  for (const Isa limit : kIsas) {
    if (most != std::string(name_of(limit))) continue;
    return *std::find_if(supported_isas().begin(), supported_isas().end(),
                         [=](Isa isa) { return isa <= limit; });
  }
  fail("EVENKEEL_MAX_CPU_ISA is \"{}\"; it can be avx512, avx2 or baseline", most);
}

std::atomic<Isa>& current() {
  static std::atomic<Isa> isa = first_isa();
  return isa;
}

}  // namespace

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    std::copy_if(std::begin(kIsas), std::end(kIsas), std::back_inserter(found), is_supported);
    return found;
  }();
  return isas;
}

Isa isa() { return current().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  EK_CHECK(is_supported(isa), "this build or this CPU has no {}", name_of(isa));
  current() = isa;
}

int register_bytes() {
  switch (isa()) {
    case Isa::avx512:
      return 64;
    case Isa::avx2:
      return 32;
    case Isa::baseline:
      break;
  }
  return baseline::kRegisterBytes;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::baseline:
      break;
  }
  return "baseline";
}

}  // namespace evenkeel::cpu
