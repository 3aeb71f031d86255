// Instruction sets of the CPU. A source that defines its kernels in namespace cpu::EK_ISA is compiled once
// for each of them (CMakeLists.txt), with the vectors that the set has; cpu::name(args) calls the version for
// the CPU that it runs on.
//
// What such a source includes and does not always inline must be in EK_ISA too: else the linker keeps one of
// the versions for all, perhaps one that this CPU cannot run. tests/isa_symbols.sh finds what is not.
#pragma once

#include <vector>

#ifndef EK_ISA
#  define EK_ISA baseline
#endif

namespace evenkeel::cpu {

enum class Isa {
  baseline,  ///< of the architecture: SSE2, NEON
  avx2,      ///< x86-64-v3, which has fused multiply-add
  avx512     ///< x86-64-v4
};

/// What this build has and this CPU runs, the best first. All but baseline give the same bits.
const std::vector<Isa>& supported_isas();

/// What kernels use: the best that is not above the environment's EVENKEEL_MAX_CPU_ISA, which is one of the
/// names below; Error if it is not.
Isa isa();
/// For tests, and not while kernels run. Error if it is not supported.
void set_isa(Isa isa);

/// The bytes of its vector registers.
int register_bytes();

/// "baseline", "avx2" or "avx512".
const char* name_of(Isa isa);

}  // namespace evenkeel::cpu

/// Declares a version of cpu::name(args) for each instruction set, and that which calls them.
#ifdef EVENKEEL_CPU_ISAS
#  define EK_DECLARE_CPU_VECTOR_KERNEL(name, Args) \
    namespace cpu {                                \
    EK_DECLARE_IN(baseline, name, Args)            \
    EK_DECLARE_IN(avx2, name, Args)                \
    EK_DECLARE_IN(avx512, name, Args)              \
    template <typename T>                          \
    void name(const Args<T>& args) {               \
      switch (isa()) {                             \
        case Isa::baseline:                        \
          return baseline::name(args);             \
        case Isa::avx2:                            \
          return avx2::name(args);                 \
        case Isa::avx512:                          \
          return avx512::name(args);               \
      }                                            \
    }                                              \
    }
#else
#  define EK_DECLARE_CPU_VECTOR_KERNEL(name, Args) \
    namespace cpu {                                \
    EK_DECLARE_IN(baseline, name, Args)            \
    template <typename T>                          \
    void name(const Args<T>& args) {               \
      baseline::name(args);                        \
    }                                              \
    }
#endif
#define EK_DECLARE_IN(isa, name, Args) \
  namespace isa {                      \
  template <typename T>                \
  void name(const Args<T>& args);      \
  }
