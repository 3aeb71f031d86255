# Flags that every target of this project is built with.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(ek_warnings INTERFACE)
set(host_options -Wall -Wextra -Wpedantic -Wshadow -Wno-psabi $<$<BOOL:${EVENKEEL_WERROR}>:-Werror>
    -ffp-contract=fast   # fused multiply-add, which -std=c++20 alone switches off
    -fno-math-errno)     # so that sqrt can be vector code
target_compile_options(ek_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${host_options}>
                       $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)

if(EVENKEEL_SANITIZE)
  add_compile_options(-fsanitize=${EVENKEEL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${EVENKEEL_SANITIZE})
  add_compile_definitions(EVENKEEL_SANITIZED)  # plain malloc, so that every block has its red zones
endif()
