// The functions of NCCL that we call, each an object of the same name that loads the library when it is first called.
#pragma once

#include <nccl.h>

#include "kernels/cuda/libraries.h"

namespace fovea::kernels::cuda {

#ifdef FOVEA_CUDA_LOADED
#define FOVEA_LOADED(name) inline constinit const Loaded<decltype(&::name)> name(Library::nccl, #name)
FOVEA_LOADED(ncclGetVersion);
FOVEA_LOADED(ncclGetUniqueId);
FOVEA_LOADED(ncclCommInitRankConfig);
FOVEA_LOADED(ncclCommFinalize);
FOVEA_LOADED(ncclCommDestroy);
FOVEA_LOADED(ncclCommAbort);
FOVEA_LOADED(ncclCommGetAsyncError);
FOVEA_LOADED(ncclGetErrorString);
FOVEA_LOADED(ncclGetLastError);
FOVEA_LOADED(ncclAllReduce);
FOVEA_LOADED(ncclBroadcast);
#undef FOVEA_LOADED
#endif

}  // namespace fovea::kernels::cuda
