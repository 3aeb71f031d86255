# The executor's own tests, which need nothing of the library.
set(simt ${CMAKE_CURRENT_LIST_DIR})
file(GLOB kernels CONFIGURE_DEPENDS ${simt}/*.cu)
set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${EK_EMULATED_FLAGS}")

# ek_add_simt_test(NAME SOURCE...): an executable test_simt_NAME and a test simt_NAME.
function(ek_add_simt_test name)
  list(TRANSFORM ARGN PREPEND ${simt}/)
  add_executable(test_simt_${name} ${ARGN})
  target_link_libraries(test_simt_${name} PRIVATE ek_simt ek_catch ek_warnings)
  add_test(NAME simt_${name} COMMAND test_simt_${name})
  ek_label(simt simt_${name})
endfunction()

ek_add_simt_test(executor test_executor.cpp)
ek_add_simt_test(warp test_warp.cpp)
ek_add_simt_test(runtime test_runtime.cpp)
ek_add_simt_test(race test_race.cpp race_global.cu race_shared.cu)
if(EVENKEEL_SANITIZE MATCHES address)
  ek_add_simt_test(overruns test_overruns.cpp)
  # Stack frames that live on the heap, which every fiber keeps its own of.
  add_test(NAME simt_overruns_fake_stacks COMMAND test_simt_overruns)
  ek_label(simt simt_overruns_fake_stacks)
  set_tests_properties(simt_overruns_fake_stacks PROPERTIES ENVIRONMENT ASAN_OPTIONS=detect_stack_use_after_return=1)
endif()

add_executable(injected_bugs ${simt}/injected_bugs.cpp ${simt}/injected_bugs.cu)
target_link_libraries(injected_bugs PRIVATE ek_simt ek_warnings)
add_test(NAME simt_no_bugs COMMAND injected_bugs 0)
ek_label(simt simt_no_bugs)

# ek_catches(NUMBER MESSAGE): a test that injected_bugs NUMBER fails with this message.
function(ek_catches number message)
  add_test(NAME simt_bug_${number} COMMAND ${CMAKE_COMMAND} "-DCOMMAND=$<TARGET_FILE:injected_bugs>;${number}"
                                           "-DMESSAGE=${message}" -P ${simt}/expect_failure.cmake)
  ek_label(simt simt_bug_${number})
endfunction()

set(of_order "result depends on the order of threads")
if(EVENKEEL_RACE_DETECTOR)
  set(of_order "race: .* shared memory")
  ek_catches(2 "barrier missing before reuse: .*race: write after read of shared memory")
  ek_catches(3 "access of 4 bytes past the end of a block")
  ek_catches(8 "race: .* device block of 40 bytes")
  add_test(NAME simt_skip_barriers COMMAND bash ${simt}/skip_barriers.sh ${CMAKE_CURRENT_BINARY_DIR})
  ek_label(simt simt_skip_barriers)
elseif(EVENKEEL_SANITIZE MATCHES address AND EVENKEEL_SANITIZE MATCHES undefined)
  ek_catches(3 "heap-buffer-overflow")
  ek_catches(6 "index 17 out of bounds for type 'float *.17.'")
endif()
ek_catches(1 "${of_order}")
ek_catches(4 "__syncthreads at injected_bugs.cu:[0-9]+ is never reached by 28 threads that have exited")
ek_catches(5 "${of_order}")
ek_catches(7 "${of_order}")
