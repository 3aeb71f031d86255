# The headers and templates that a source includes take several times longer to compile than the source itself. So sources
# that belong together are compiled as one, which CMake calls a unity build: from nothing this takes a third of the time.
# Set EVENKEEL_UNITY to OFF while you work on single files.
option(EVENKEEL_UNITY "Compile the sources of a folder as one: quicker from nothing, slower after a small change" ON)

# ek_compile_together(GROUP SOURCE...): the targets that ek_use_unity() names compile these sources as one.
function(ek_compile_together group)
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${group})
endfunction()

function(ek_use_unity)
  set_target_properties(${ARGN} PROPERTIES UNITY_BUILD ${EVENKEEL_UNITY} UNITY_BUILD_MODE GROUP)
endfunction()
