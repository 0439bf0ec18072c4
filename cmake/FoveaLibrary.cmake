# All rooms as the one library that is installed and linked: libfovea (static or shared).
get_property(rooms GLOBAL PROPERTY FOVEA_ROOMS)
set(objects "")
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:fovea_${room}>)
endforeach()
add_library(fovea ${objects})
add_library(fovea::fovea ALIAS fovea)
