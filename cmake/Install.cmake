# make install, and find_package(Evenkeel) afterwards; find_package(Evenkeel) in the build tree works too.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS evenkeel EXPORT EvenkeelTargets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES evenkeel.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/evenkeel)
foreach(layer base core kernels nn)
  install(DIRECTORY ${layer} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/evenkeel FILES_MATCHING PATTERN "*.h"
          PATTERN "kernels/cpu" EXCLUDE PATTERN "kernels/cuda/simt.h" EXCLUDE PATTERN "nn/functional" EXCLUDE PATTERN "core/stream_guard.h" EXCLUDE)
endforeach()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
get_target_property(EVENKEEL_LIBRARY_TYPE evenkeel TYPE)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Evenkeel)
install(EXPORT EvenkeelTargets NAMESPACE Evenkeel:: DESTINATION ${config_dir})
export(EXPORT EvenkeelTargets NAMESPACE Evenkeel:: FILE EvenkeelTargets.cmake)
configure_package_config_file(cmake/EvenkeelConfig.cmake.in EvenkeelConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(EvenkeelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/EvenkeelConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/EvenkeelConfigVersion.cmake
        DESTINATION ${config_dir})
