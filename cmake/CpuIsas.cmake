# Versions of the CPU's vector code for several instruction sets: see kernels/isa.h.

# Sets RESULT to whether this build has them. Not with sanitizers, nor without optimisation or with one for size, which
# leave inline functions as functions that the linker would share.
function(ek_want_cpu_isas result)
  set(${result} OFF PARENT_SCOPE)
  if(NOT EVENKEEL_CPU_ISAS OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64"
     OR EK_FLAGS MATCHES "-fsanitize=")
    return()
  endif()
  string(REGEX MATCHALL "(^| )-O[^ ]*" levels "${EK_FLAGS}")
  list(POP_BACK levels last_level)
  if(CMAKE_CONFIGURATION_TYPES OR last_level MATCHES "-O([123]|fast)?$")
    set(${result} ON PARENT_SCOPE)
  endif()
endfunction()

# ek_add_cpu_isas(TARGET): compiles the sources of the library that define something in EK_ISA again for each set that
# GCC and Clang know by these names.
function(ek_add_cpu_isas target)
  set_target_properties(${target} PROPERTIES EK_CPU_ISAS "")
  ek_want_cpu_isas(wanted)
  if(NOT wanted)
    return()
  endif()
  target_compile_definitions(${target} PUBLIC EVENKEEL_CPU_ISAS)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*.cpp ${PROJECT_SOURCE_DIR}/kernels/cpu/fused/*.cpp)
  foreach(source IN LISTS sources)
    file(STRINGS ${source} uses REGEX "^namespace evenkeel::cpu::EK_ISA")
    if(NOT uses)
      list(REMOVE_ITEM sources ${source})
    endif()
  endforeach()
  set_target_properties(${target} PROPERTIES EK_CPU_ISAS "avx512;avx2;baseline")
  ek_compile_for_cpu_isas(${target} ${sources})
endfunction()

# ek_compile_for_cpu_isas(TARGET SOURCE...): compiles these again for each set above the baseline.
function(ek_compile_for_cpu_isas target)
  set(avx2 x86-64-v3)
  set(avx512 x86-64-v4)
  set(release_types Release RelWithDebInfo)
  foreach(name IN ITEMS avx2 avx512)
    set(library ${target}_${name})
    add_library(${library} OBJECT ${ARGN})
    ek_use_unity(${library})
    target_compile_options(${library} PRIVATE -march=${${name}})
    if(CMAKE_CONFIGURATION_TYPES)  # the other types of such a build have these versions too, optimised for speed
      target_compile_options(${library} PRIVATE $<$<NOT:$<IN_LIST:$<CONFIG>,${release_types}>>:-O2>)
    endif()
    target_compile_definitions(${library} PRIVATE EK_ISA=${name} EVENKEEL_CPU_ISAS)
    target_include_directories(${library} PRIVATE ${EK_INCLUDE_DIR})
    target_include_directories(${library} SYSTEM PRIVATE ${RANDOM123_INCLUDE_DIR})
    target_link_libraries(${library} PRIVATE ek_warnings fmt::fmt)
    set_target_properties(${library} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
  endforeach()
endfunction()
