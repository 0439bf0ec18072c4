#include "kernels/gpu_ranks.h"

#include "core/error.h"
#include "kernels/devices.h"

#ifdef FOVEA_CUDA
#include "kernels/cuda/nccl_ranks.h"
#include "kernels/cuda/runtime.h"
#endif

namespace fovea {

std::string nccl_unavailable() {
#ifdef FOVEA_CUDA
  return kernels::cuda::nccl_problem();
#else
  return why_no_gpu();
#endif
}

Device gpu_of_rank(int local_rank, int local_size) {
#ifdef FOVEA_CUDA
  const int count = kernels::cuda::availability().count;
  if (count > 1 && count < local_size) {
    throw Error(ErrorKind::device, "ranks",
                str("there are ", count, " GPUs for ", local_size, " ranks on this machine"),
                str("each rank needs its own: start at most ", count, " here"));
  }
  return gpu(count == 1 ? 0 : local_rank);
#else
  (void)local_size;
  return gpu(local_rank);
#endif
}

std::unique_ptr<Communicator> gpu_ranks(Communicator& hosts, Device gpu) {
#ifdef FOVEA_CUDA
  if (gpu.type != DeviceType::cuda)
    throw Error(ErrorKind::usage, "ranks", str("NCCL's buffers lie on a GPU, not on ", gpu));
  return kernels::cuda::nccl_ranks(hosts, gpu.index);
#else
  (void)hosts;
  throw Error(ErrorKind::device, str(gpu), nccl_unavailable());
#endif
}

}  // namespace fovea
