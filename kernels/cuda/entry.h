// How the lists of implementations in kernels/<family>.cc name those for GPUs, in builds that have them.
#pragma once

#ifdef FOVEA_CUDA
#include "kernels/cuda/ops.h"
#define FOVEA_CUDA_ENTRY(name, declines, run) {name, declines, run},
#else
#define FOVEA_CUDA_ENTRY(name, declines, run)
#endif
