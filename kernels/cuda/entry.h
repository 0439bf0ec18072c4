// How the lists of implementations in kernels/<family>.cc name those for GPUs: real ones in builds with CUDA, in others
// entries that say why they decline.
#pragma once

#ifdef FOVEA_CUDA
#include "kernels/cuda/ops.h"
#define FOVEA_CUDA_ENTRY(name, declines, run) \
  { name, declines, run }
#else
#define FOVEA_CUDA_ENTRY(name, declines, run) \
  { name, fovea::kernels::cuda::not_built, nullptr }
namespace fovea::kernels::cuda {
template <class Problem>
const char* not_built(const Problem&) {
  return "this build has no GPU code";
}
}  // namespace fovea::kernels::cuda
#endif
