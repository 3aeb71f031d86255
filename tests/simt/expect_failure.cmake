# cmake -DCOMMAND=program;argument -DMESSAGE=regex -P expect_failure.cmake: succeeds if the command fails, and says so.
execute_process(COMMAND ${COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output TIMEOUT 300)
message("${output}")
if(result STREQUAL "0")
  message(FATAL_ERROR "the bug went unnoticed")
endif()
if(NOT output MATCHES "${MESSAGE}")
  message(FATAL_ERROR "failed (${result}), but not with: ${MESSAGE}")
endif()
