# Flags that every target of this project is built with, whatever the project that includes it does with its own. All
# variables here are of this directory and those below it.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET default)  # nothing is marked for export
set(CMAKE_VISIBILITY_INLINES_HIDDEN OFF)
set(CMAKE_UNITY_BUILD OFF)                # only what ek_compile_together() names
if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
endif()

if(EVENKEEL_SANITIZE)
  if(NOT EVENKEEL_SANITIZE MATCHES "^[a-z-]+(,[a-z-]+)*$" OR EVENKEEL_SANITIZE MATCHES "^(on|true|yes|y)$")
    message(FATAL_ERROR "EVENKEEL_SANITIZE is \"${EVENKEEL_SANITIZE}\": set it to names as in address,undefined")
  endif()
  add_compile_options(-fsanitize=${EVENKEEL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  if(EVENKEEL_SANITIZE MATCHES address)  # which reports the accesses that these two are about; they take long to compile
    add_compile_options(-fno-sanitize=null,object-size)
  endif()
  # For code that takes longer to compile than to run: GCC then calls a function for each access, which is compiled in two
  # thirds of the time. The kernels run 5 % longer on the SIMT executor.
  if(EVENKEEL_SANITIZE MATCHES address AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    set(EK_SANITIZED_BY_CALLS --param=asan-instrumentation-with-call-threshold=0)
  endif()
  add_link_options(-fsanitize=${EVENKEEL_SANITIZE})
  add_compile_definitions(EVENKEEL_SANITIZED)  # plain malloc, so that every block has its red zones
endif()

if(EVENKEEL_COVERAGE)  # counts for scripts/coverage.sh, of these folders only: counting in kernels would take longer than they
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    message(FATAL_ERROR "EVENKEEL_COVERAGE needs GCC, which counts in chosen files only")
  endif()
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:--coverage;-fprofile-update=atomic;-fprofile-filter-files=/(base|core|nn|apps)/;-fprofile-exclude-files=[.]cu>")
  add_link_options(--coverage)
endif()

# EK_FLAGS: all that the compiler is told for every target of a build of one type.
string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
get_directory_property(EK_FLAGS COMPILE_OPTIONS)
set(EK_FLAGS "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}} ${EK_FLAGS}")
string(REPLACE ";" " " EK_FLAGS "${EK_FLAGS}")

# Without a build type, which is the including project's to set, or with one that CMake does not know, it passes no flags
# at all: the library then has those of Release, unless other flags say how to optimise.
set(release_flags "")
if("${CMAKE_CXX_FLAGS_${type}}" STREQUAL "" AND NOT CMAKE_CONFIGURATION_TYPES AND NOT EK_FLAGS MATCHES "(^| )-O")
  separate_arguments(release_flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS_RELEASE}")
  string(APPEND EK_FLAGS " ${CMAKE_CXX_FLAGS_RELEASE}")
endif()

set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wno-psabi $<$<BOOL:${EVENKEEL_WERROR}>:-Werror>)
if(NOT PROJECT_IS_TOP_LEVEL AND NOT EVENKEEL_WERROR)
  set(warnings -w)  # the warnings that a project asks for are about its own files
endif()
set(host_options ${warnings}
    $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>  # which takes sources that are compiled together for headers
    -ffp-contract=fast   # fused multiply-add, which -std=c++20 alone switches off
    -fno-math-errno      # so that sqrt can be vector code
    -fno-trapping-math)  # nor what is computed for one of two cases: nobody looks at the exception flags
add_library(ek_warnings INTERFACE)
target_compile_options(ek_warnings INTERFACE ${release_flags} $<$<COMPILE_LANGUAGE:CXX>:${host_options}>
                       $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)

# ek_compile_with(TARGET LIBRARY...): as target_link_libraries(TARGET PRIVATE LIBRARY...) for libraries that are nothing
# but headers and flags, without a word of them to those who link TARGET, installed or not.
function(ek_compile_with target)
  foreach(library IN LISTS ARGN)
    target_compile_options(${target} PRIVATE $<TARGET_PROPERTY:${library},INTERFACE_COMPILE_OPTIONS>)
    target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:${library},INTERFACE_COMPILE_DEFINITIONS>)
    target_include_directories(${target} SYSTEM PRIVATE $<TARGET_PROPERTY:${library},INTERFACE_INCLUDE_DIRECTORIES>)
  endforeach()
endfunction()
