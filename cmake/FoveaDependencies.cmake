# Finds every third-party library once. docs/dependencies.md says why each is here; `./dev` installs them from Debian.

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(JPEG REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(hwy REQUIRED)
find_path(FOVEA_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb REQUIRED)

set(FOVEA_OPENMP OFF)
if(FOVEA_ONEDNN)
  find_package(dnnl REQUIRED)
  # oneDNN brings its own OpenMP team; parallel_for joins it, so that there is one team and no oversubscription.
  if(NOT FOVEA_SANITIZE MATCHES "thread")
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    set(FOVEA_OPENMP ON)
  endif()
endif()
