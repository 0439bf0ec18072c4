// Training on several GPUs: ranks that have a GPU each and add up what lies there by NCCL.
#pragma once

#include <memory>
#include <string>

#include "core/device.h"
#include "core/distributed/communicator.h"

namespace fovea {

/// What stands in the way of several GPUs here ("this build has no NCCL", "libnccl.so.2 cannot be loaded: …"), or
/// empty. Needs no GPU.
FOVEA_API std::string nccl_unavailable();

/// The GPU of the rank that is number `local_rank` of `local_size` on its machine: that of the same number, or the only
/// one that this process sees, where whoever started it gave each rank one of its own (CUDA_VISIBLE_DEVICES).
/// Error{device} where there are fewer GPUs than ranks, or none.
FOVEA_API Device gpu_of_rank(int local_rank, int local_size);

/// The same ranks as `hosts`, each with a GPU: buffers on `gpu` travel by NCCL from GPU to GPU, those on the CPU, and
/// barriers, by `hosts`, which must outlive this. Called by all ranks together.
///
/// Sums of a GPU's buffers run on a stream of their own, behind the work that was queued on the GPU when they were
/// started, beside what is queued later; wait() lets the GPU's work wait for them, not the caller. The order of
/// summation is NCCL's: the same for equal runs on equal machines. A failure of NCCL, also one that comes to light
/// later (a connection broke), is an Error{device} of the next call, progress() included; then sums that were under way
/// are not to be trusted. A rank that leaves by an exception ends the group on its GPU.
///
/// Error{device} where NCCL is not there or does not start, or where two ranks have the same GPU (on all ranks).
FOVEA_API std::unique_ptr<Communicator> gpu_ranks(Communicator& hosts, Device gpu);

}  // namespace fovea
