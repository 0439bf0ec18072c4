// NCCL behind the communicator: kernels/gpu_ranks.h says what it does. No type of NCCL stands here.
#pragma once

#include <memory>
#include <string>

#include "core/distributed/communicator.h"

namespace fovea::kernels::cuda {

/// Why there is no NCCL, or empty.
std::string nccl_problem();
std::unique_ptr<Communicator> nccl_ranks(Communicator& hosts, int device);

}  // namespace fovea::kernels::cuda
