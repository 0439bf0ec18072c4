# fovea_room(<name> [DEPENDS room...] [WITHOUT folder...]): one folder becomes the static library fovea_<name>. All rooms together are shipped as
# one library (FoveaLibrary.cmake). Linking only the rooms below keeps a wrong call from linking; tests/structure keeps a
# wrong include from compiling unnoticed.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_library(fovea_options INTERFACE)
target_include_directories(fovea_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_options(fovea_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wno-missing-field-initializers;-Wno-restrict;-ffp-contract=off>"
  "$<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda;--expt-relaxed-constexpr;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers;--Werror=all-warnings>"
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:$<TARGET_PROPERTY:FOVEA_SECTIONS>>>:-ffunction-sections>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:$<TARGET_PROPERTY:FOVEA_SECTIONS>>>:-fdata-sections>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${FOVEA_WERROR}>>:-Werror>)
if(FOVEA_SANITIZE)
  # -g1 has the lines that reports name; -g costs another half of the compilation
  target_compile_options(fovea_options INTERFACE -fsanitize=${FOVEA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(fovea_options INTERFACE -fsanitize=${FOVEA_SANITIZE})
endif()

# For files that share costly headers and are no library: they are compiled eight at a time. Not the rooms: there a call
# took a function of the same name in another file's unnamed namespace, without a word of the compiler. In those that are
# compiled so, tests/structure keeps such names apart.
function(fovea_unity target)
  if(FOVEA_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

set_property(GLOBAL PROPERTY FOVEA_ROOMS "")
# The rooms of the small runtime. In sections of their own, functions that only training calls are left out of a program
# that only answers.
set(FOVEA_SMALL_ROOMS core kernels image infer_runtime infer_graph)

function(fovea_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;WITHOUT" ${ARGN})
  # CONFIGURE_DEPENDS: a new file in the folder needs no CMake edit.
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
  foreach(folder ${ROOM_WITHOUT})
    list(FILTER sources EXCLUDE REGEX "^${CMAKE_CURRENT_SOURCE_DIR}/${folder}/")
  endforeach()
  if(NOT sources)
    # A room without a .cc yet still has to configure, so that the others build.
    set(sources ${PROJECT_BINARY_DIR}/generated/empty_${name}.cc)
    file(CONFIGURE OUTPUT ${sources} CONTENT "// This room has no source yet.\n" @ONLY)
  endif()
  add_library(fovea_${name} STATIC ${sources})
  set_target_properties(fovea_${name} PROPERTIES LINKER_LANGUAGE CXX)
  if(name IN_LIST FOVEA_SMALL_ROOMS)
    set_target_properties(fovea_${name} PROPERTIES FOVEA_SECTIONS ON)
  endif()
  target_compile_definitions(fovea_${name} PRIVATE FOVEA_BUILDING_LIBRARY)
  target_link_libraries(fovea_${name} PUBLIC fovea_options)
  foreach(dependency ${ROOM_DEPENDS})
    target_link_libraries(fovea_${name} PUBLIC fovea_${dependency})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY FOVEA_ROOMS ${name})
endfunction()
