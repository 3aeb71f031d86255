# Versions of the CPU's vector code for several instruction sets: see kernels/isa.h.

# ek_add_cpu_isas(TARGET): compiles the sources of the library that define something in EK_ISA again for each set that
# GCC and Clang know by these names. Not with sanitizers, nor without optimisation, which leaves inline functions of the
# standard library as functions that the linker would share; nor in the emulated build, which is for the CUDA kernels.
function(ek_add_cpu_isas target)
  set_target_properties(${target} PROPERTIES EK_CPU_ISAS "")
  if(NOT EVENKEEL_CPU_ISAS OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR EVENKEEL_SANITIZE
     OR EVENKEEL_CUDA_MODE STREQUAL EMULATED OR NOT CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo|MinSizeRel")
    return()
  endif()
  target_compile_definitions(${target} PUBLIC EVENKEEL_CPU_ISAS)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*.cpp ${PROJECT_SOURCE_DIR}/kernels/cpu/lanes/*.cpp)
  foreach(source IN LISTS sources)
    file(STRINGS ${source} uses REGEX "^namespace evenkeel::cpu::EK_ISA")
    if(NOT uses)
      list(REMOVE_ITEM sources ${source})
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES EK_CPU_ISAS "avx512;avx2;baseline")
  set(avx2 x86-64-v3)
  set(avx512 x86-64-v4)
  foreach(name IN ITEMS avx2 avx512)
    set(library evenkeel_${name})
    add_library(${library} OBJECT ${sources})
    target_compile_options(${library} PRIVATE -march=${${name}})
    target_compile_definitions(${library} PRIVATE EK_ISA=${name} EVENKEEL_CPU_ISAS)
    target_include_directories(${library} PRIVATE ${PROJECT_SOURCE_DIR})
    target_include_directories(${library} SYSTEM PRIVATE ${RANDOM123_INCLUDE_DIR})
    target_link_libraries(${library} PRIVATE ek_warnings)
    set_target_properties(${library} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
  endforeach()
endfunction()
