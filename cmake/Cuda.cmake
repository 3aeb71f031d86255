# EVENKEEL_CUDA: how the .cu files of kernels/cuda, apps/mnist and apps/bench are built, and with them core/cuda.cpp.
#   AUTO      ON if nvcc is found, else OFF
#   ON        by nvcc, for the architectures of CMAKE_CUDA_ARCHITECTURES
#   OFF       not at all: Device::cuda() is refused
#   EMULATED  by the host's compiler, on the SIMT executor in simt/: for tests, on machines without a GPU
# in any case of letters; ON and OFF also as CMake spells them otherwise.
set(EVENKEEL_CUDA AUTO CACHE STRING "AUTO, ON, OFF or EMULATED")
set_property(CACHE EVENKEEL_CUDA PROPERTY STRINGS AUTO ON OFF EMULATED)
option(EVENKEEL_RACE_DETECTOR "EMULATED only: check every memory access of the kernels for races" OFF)

string(TOUPPER "${EVENKEEL_CUDA}" EVENKEEL_CUDA_MODE)
if(EVENKEEL_CUDA_MODE MATCHES "^(1|YES|Y|TRUE)$")
  set(EVENKEEL_CUDA_MODE ON)
elseif(EVENKEEL_CUDA_MODE MATCHES "^(0|NO|N|FALSE)$")
  set(EVENKEEL_CUDA_MODE OFF)
elseif(NOT EVENKEEL_CUDA_MODE MATCHES "^(AUTO|ON|OFF|EMULATED)$")
  message(FATAL_ERROR "EVENKEEL_CUDA is \"${EVENKEEL_CUDA}\": set it to AUTO, ON, OFF or EMULATED")
endif()
if(EVENKEEL_CUDA_MODE STREQUAL AUTO)
  include(CheckLanguage)
  check_language(CUDA)
  set(EVENKEEL_CUDA_MODE OFF)
  if(CMAKE_CUDA_COMPILER)
    set(EVENKEEL_CUDA_MODE ON)
  endif()
endif()

if(EVENKEEL_CUDA_MODE STREQUAL ON)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND "$ENV{CUDAARCHS}" STREQUAL "")  # of which CMake makes the variable
    # The GPU of this machine; without one, code that the driver of any GPU since Turing compiles when it is loaded.
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities
                    ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND capabilities MATCHES "^([0-9]+)\\.([0-9]+)")
      set(CMAKE_CUDA_ARCHITECTURES ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
    else()
      set(CMAKE_CUDA_ARCHITECTURES 75-virtual)
    endif()
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()
message(STATUS "CUDA kernels: ${EVENKEEL_CUDA_MODE}")

# What the host's compiler is told about a .cu file.
set(EK_EMULATED_FLAGS -x c++ ${EK_SANITIZED_BY_CALLS})
if(EVENKEEL_RACE_DETECTOR)
  list(APPEND EK_EMULATED_FLAGS -O1 -g1 -fsanitize=thread -fno-threadsafe-statics)  # whose guards are atomics
endif()

# ek_add_cuda_kernels(TARGET SOURCE...): adds .cu files to a target, compiled as EVENKEEL_CUDA says; none of them where it is OFF.
function(ek_add_cuda_kernels target)
  if(EVENKEEL_CUDA_MODE STREQUAL OFF)
    return()
  endif()
  target_sources(${target} PRIVATE ${ARGN})
  if(EVENKEEL_CUDA_MODE STREQUAL ON)
    target_link_libraries(${target} PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
  else()
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${EK_EMULATED_FLAGS}")
    target_link_libraries(${target} PRIVATE ek_simt)
  endif()
endfunction()

# ek_add_cuda(TARGET): adds the CUDA backend to the library.
function(ek_add_cuda target)
  if(EVENKEEL_CUDA_MODE STREQUAL OFF)
    return()
  endif()
  if(EVENKEEL_CUDA_MODE STREQUAL EMULATED)
    add_subdirectory(${PROJECT_SOURCE_DIR}/simt ${PROJECT_BINARY_DIR}/simt)
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu)
  ek_add_cuda_kernels(${target} ${sources})
  target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/core/cuda.cpp)
  target_compile_definitions(${target} PUBLIC EVENKEEL_WITH_CUDA)
endfunction()
