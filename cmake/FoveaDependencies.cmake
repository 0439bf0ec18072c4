# Finds every third-party library once. docs/dependencies.md says why each is here; `./dev` installs them from Debian.

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(JPEG REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(hwy REQUIRED)
find_path(FOVEA_STB_INCLUDE_DIR stb_image.h PATH_SUFFIXES stb REQUIRED)
# By name and not through libzip's CMake package: Debian's insists on command-line tools that are in other packages.
find_path(FOVEA_ZIP_INCLUDE_DIR zip.h REQUIRED)
find_library(FOVEA_ZIP_LIBRARY zip REQUIRED)

# By name: DCMTK's own CMake package insists on programs that are in another package.
set(FOVEA_DCMTK_FOUND OFF)
set(FOVEA_DCMTK_LIBRARIES dcmdata oflog ofstd)
if(FOVEA_DCMTK)
  find_path(FOVEA_DCMTK_INCLUDE_DIR dcmtk/dcmdata/dctk.h)
  find_library(FOVEA_DCMTK_LIBRARY dcmdata)
  if(FOVEA_DCMTK_INCLUDE_DIR AND FOVEA_DCMTK_LIBRARY)
    set(FOVEA_DCMTK_FOUND ON)
  elseif(NOT FOVEA_DCMTK STREQUAL "AUTO")
    message(FATAL_ERROR "FOVEA_DCMTK is ON, but DCMTK is not installed (libdcmtk-dev)")
  endif()
endif()

# Tesseract is loaded when it is first needed, never linked: only its header and the name of the library are wanted here.
set(FOVEA_TESSERACT_NAME "")
if(FOVEA_TESSERACT)
  find_path(FOVEA_TESSERACT_INCLUDE_DIR tesseract/capi.h)
  find_library(FOVEA_TESSERACT_LIBRARY tesseract)
  if(FOVEA_TESSERACT_INCLUDE_DIR AND FOVEA_TESSERACT_LIBRARY)
    # The name that programs ask for: libtesseract.so.5 of libtesseract.so.5.0.3.
    file(REAL_PATH ${FOVEA_TESSERACT_LIBRARY} name)
    get_filename_component(name ${name} NAME)
    string(REGEX REPLACE "(\\.so\\.[0-9]+).*$" "\\1" FOVEA_TESSERACT_NAME ${name})
  elseif(NOT FOVEA_TESSERACT STREQUAL "AUTO")
    message(FATAL_ERROR "FOVEA_TESSERACT is ON, but Tesseract is not installed (libtesseract-dev)")
  endif()
endif()

# So is MPI, when mpirun started the program: its header says which functions there are.
set(FOVEA_MPI_NAME "")
if(FOVEA_MPI)
  find_path(FOVEA_MPI_INCLUDE_DIR mpi.h PATH_SUFFIXES openmpi openmpi/include mpi
    HINTS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openmpi/include)
  find_library(FOVEA_MPI_LIBRARY mpi HINTS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openmpi/lib)
  if(FOVEA_MPI_INCLUDE_DIR AND FOVEA_MPI_LIBRARY)
    # Predefined objects of other MPIs are numbers, not symbols.
    file(STRINGS ${FOVEA_MPI_INCLUDE_DIR}/mpi.h open_mpi REGEX "define OPEN_MPI +1")
    file(REAL_PATH ${FOVEA_MPI_LIBRARY} name)
    get_filename_component(name ${name} NAME)
    string(REGEX REPLACE "(\\.so\\.[0-9]+).*$" "\\1" name ${name})
  endif()
  if(FOVEA_MPI_INCLUDE_DIR AND FOVEA_MPI_LIBRARY AND open_mpi)
    set(FOVEA_MPI_NAME ${name})
  elseif(NOT FOVEA_MPI STREQUAL "AUTO")
    message(FATAL_ERROR "FOVEA_MPI is ON, but Open MPI is not installed (libopenmpi-dev)")
  endif()
endif()

set(FOVEA_OPENMP OFF)
if(FOVEA_ONEDNN)
  find_package(dnnl REQUIRED)
  # oneDNN works on OpenMP's team: we tell it how many threads it may use.
  if(NOT FOVEA_SANITIZE MATCHES "thread")
    find_package(OpenMP REQUIRED COMPONENTS CXX)
    set(FOVEA_OPENMP ON)
  endif()
endif()

# Each SIMD file is compiled once per target, so targets that no CPU needs cost a fifth of its compile time each. Left out:
# SSE4, whose CPUs (2008 to 2012) run the SSSE3 code, which an Intel Nehalem needs anyway, because Highway's SSE4 asks for
# AES instructions; the variants of AVX3, which add nothing for f32; vectors without a compile-time size, which cannot be
# kept in arrays. Remain on x86: SSSE3, AVX2, AVX3, and plain code.
set(FOVEA_HWY_DISABLED HWY_SSE4 HWY_AVX3_DL HWY_SVE HWY_SVE2 HWY_SVE_256 HWY_SVE2_128 HWY_RVV)
if(hwy_VERSION VERSION_GREATER_EQUAL 1.1)
  list(APPEND FOVEA_HWY_DISABLED HWY_AVX3_ZEN4 HWY_AVX3_SPR)
endif()
if(FOVEA_SANITIZE)  # a quarter of the kernels' compilation; the same code runs as AVX2 and on emulated old CPUs
  list(APPEND FOVEA_HWY_DISABLED HWY_SSSE3)
endif()
list(JOIN FOVEA_HWY_DISABLED | FOVEA_HWY_DISABLED)
target_compile_definitions(hwy::hwy INTERFACE "HWY_DISABLED_TARGETS=(${FOVEA_HWY_DISABLED})")

# GPUs. cuDNN comes without a CMake package, as a folder laid over the toolkit or as Python wheels: it is found by name.
set(FOVEA_CUDA_LIBRARIES "")
if(FOVEA_CUDA)
  find_package(CUDAToolkit REQUIRED)
  find_path(FOVEA_CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES cudnn REQUIRED)
  # NCCL, for training on several GPUs, is loaded when it is first needed: only its header and the library's folder are
  # wanted here. 2.14 is the first whose communicators can be made without blocking.
  set(FOVEA_NCCL_FOUND OFF)
  if(FOVEA_NCCL)
    find_path(FOVEA_NCCL_INCLUDE_DIR nccl.h HINTS ${NCCL_HOME} ENV NCCL_HOME ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include)
    find_library(FOVEA_NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR HINTS ${NCCL_HOME} ENV NCCL_HOME ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
    set(version 0)
    if(FOVEA_NCCL_INCLUDE_DIR)
      file(STRINGS ${FOVEA_NCCL_INCLUDE_DIR}/nccl.h version REGEX "define NCCL_(MAJOR|MINOR) ")
      string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]*([0-9]+).*" "\\1.\\2" version "${version}")
    endif()
    if(version VERSION_GREATER_EQUAL 2.14 AND (FOVEA_NCCL_LIBRARY OR FOVEA_CUDA STREQUAL "DOUBLE"))
      set(FOVEA_NCCL_FOUND ON)
      get_filename_component(FOVEA_NCCL_LIBRARY_DIR "${FOVEA_NCCL_LIBRARY}" DIRECTORY)
    elseif(NOT FOVEA_NCCL STREQUAL "AUTO")
      message(FATAL_ERROR "FOVEA_NCCL is ON, but NCCL 2.14 or newer was not found; NCCL_HOME names its folder")
    endif()
  endif()
  if(FOVEA_CUDA STREQUAL "DOUBLE")
    set(FOVEA_CUDA_LIBRARIES $<BUILD_INTERFACE:fovea_cuda_double>)
  elseif(FOVEA_CUDA)
    # Code for compute capability 8 and, by its PTX, everything newer; releases name the architectures they are for.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80)
    endif()
    if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND CUDAToolkit_NVCC_EXECUTABLE)
      set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
    endif()
    if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
      set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
    endif()
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20 since CUDA 12
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    # cuBLAS and cuDNN are loaded when they are first needed (kernels/cuda/libraries.h); tests link them.
    find_library(FOVEA_CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
    set(FOVEA_CUDA_LIBRARIES CUDA::cudart_static)
  endif()
endif()
