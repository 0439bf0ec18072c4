# All rooms as the one library that is installed and linked: libfovea (static, or shared with -DBUILD_SHARED_LIBS=ON), its
# headers below include/fovea, the CMake package and the pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(rooms GLOBAL PROPERTY FOVEA_ROOMS)
set(objects "")
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:fovea_${room}>)
endforeach()

add_library(fovea ${objects})
add_library(fovea::fovea ALIAS fovea)
# The objects are compiled by the rooms; this target says what the whole needs at link time. Nothing of it reaches a
# program's compile line: no third-party type stands in a public header.
target_link_libraries(fovea PRIVATE Threads::Threads ZLIB::ZLIB zip JPEG::JPEG hwy::hwy OpenSSL::Crypto ${CMAKE_DL_LIBS})
if(FOVEA_ONEDNN)
  target_link_libraries(fovea PRIVATE DNNL::dnnl)
endif()
if(FOVEA_DCMTK_FOUND)
  target_link_libraries(fovea PRIVATE ${FOVEA_DCMTK_LIBRARIES})
endif()
if(FOVEA_OPENMP)
  target_link_libraries(fovea PRIVATE OpenMP::OpenMP_CXX)
endif()
if(FOVEA_CUDA)
  target_link_libraries(fovea PRIVATE ${FOVEA_CUDA_LIBRARIES})
endif()
target_compile_features(fovea PUBLIC cxx_std_20)
# Our own headers say "core/tensor.h" and users say <fovea/fovea.h> or <fovea/core/tensor.h>: hence two directories.
target_include_directories(fovea PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/fovea>)

# Before 1.0 a minor version may break the binary interface, so it is part of the soname.
set_target_properties(fovea PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINKER_LANGUAGE CXX)
if(BUILD_SHARED_LIBS)
  # Standard-library templates instantiated in here are not hidden by -fvisibility=hidden; the map hides them.
  target_link_options(fovea PRIVATE LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/fovea.map)
  set_target_properties(fovea PROPERTIES LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/fovea.map)
  if(NOT FOVEA_SANITIZE)
    target_link_options(fovea PRIVATE LINKER:--no-undefined)
  endif()
endif()
if(FOVEA_SANITIZE)
  target_link_options(fovea PUBLIC -fsanitize=${FOVEA_SANITIZE})
endif()

# The small runtime, for programs that only answer: no layers, no gradients, no training. A program links this or fovea.
# Always static; sections let the linker leave out the kernels of training, which share files with those of inference.
set(objects "")
foreach(room ${FOVEA_SMALL_ROOMS})
  # Without DICOM, whose library is larger than all of this.
  list(APPEND objects "$<FILTER:$<TARGET_OBJECTS:fovea_${room}>,EXCLUDE,/dicom[.]cc[.]>")
endforeach()
add_library(fovea_infer STATIC ${objects} ${PROJECT_SOURCE_DIR}/image/dicom.cc)
target_compile_definitions(fovea_infer PRIVATE FOVEA_BUILDING_LIBRARY)
target_link_libraries(fovea_infer PRIVATE $<BUILD_INTERFACE:fovea_options>)
add_library(fovea::infer ALIAS fovea_infer)
target_link_libraries(fovea_infer PRIVATE Threads::Threads ZLIB::ZLIB JPEG::JPEG hwy::hwy)
if(FOVEA_ONEDNN)
  target_link_libraries(fovea_infer PRIVATE DNNL::dnnl)
endif()
if(FOVEA_OPENMP)
  target_link_libraries(fovea_infer PRIVATE OpenMP::OpenMP_CXX)
endif()
if(FOVEA_CUDA)
  target_link_libraries(fovea_infer PRIVATE ${FOVEA_CUDA_LIBRARIES})
endif()
if(NOT APPLE)
  target_link_options(fovea_infer INTERFACE LINKER:--gc-sections)
endif()
target_compile_features(fovea_infer PUBLIC cxx_std_20)
target_include_directories(fovea_infer PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/fovea>)
set_target_properties(fovea_infer PROPERTIES EXPORT_NAME infer LINKER_LANGUAGE CXX)

install(TARGETS fovea fovea_infer EXPORT fovea-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library)
install(EXPORT fovea-targets NAMESPACE fovea:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fovea COMPONENT library)

# Public headers: those of the rooms, without the implementations of kernels and what a room keeps in internal/.
set(folders ${rooms})
list(TRANSFORM folders REPLACE "^infer_.*" "infer")  # one folder, two rooms
list(REMOVE_DUPLICATES folders)
foreach(folder ${folders})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fovea COMPONENT library
    FILES_MATCHING PATTERN "*.h"
    REGEX "/kernels/(cpu|cuda)(/|$)" EXCLUDE
    REGEX "/internal(/|$)" EXCLUDE
    REGEX "(-inl|_internal)\\.h$" EXCLUDE)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/fovea DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT library)

# find_package(fovea)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/fovea-config.cmake.in ${PROJECT_BINARY_DIR}/fovea-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fovea NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fovea-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fovea-config.cmake ${PROJECT_BINARY_DIR}/fovea-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/fovea COMPONENT library)

# pkg-config: relative to its own place, so that the installed tree may be moved.
file(RELATIVE_PATH FOVEA_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(FOVEA_PC_LIBS_PRIVATE "-pthread")
if(FOVEA_OPENMP)
  string(PREPEND FOVEA_PC_LIBS_PRIVATE "-fopenmp ")
endif()
if(FOVEA_ONEDNN)
  string(PREPEND FOVEA_PC_LIBS_PRIVATE "-ldnnl ")  # Debian's oneDNN brings no .pc file
endif()
if(FOVEA_DCMTK_FOUND)
  string(PREPEND FOVEA_PC_LIBS_PRIVATE "-ldcmdata -loflog -lofstd ")
endif()
configure_file(${PROJECT_SOURCE_DIR}/cmake/fovea.pc.in ${PROJECT_BINARY_DIR}/fovea.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fovea.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
