// What tests may ask of the double of NCCL (nccl.cc). Its ranks are threads of one process, each with a GPU of its own.
#pragma once

#include <cstdint>

#ifdef FOVEA_NCCL
#include <nccl.h>

#include "cuda_double.h"

namespace fovea::cuda_double {

/// Communicators that were made and neither destroyed nor aborted.
std::int64_t live_nccl_comms();
/// Sums and broadcasts that were begun, each counted by every rank, since the start.
std::int64_t nccl_calls();
/// How long a call waits for those of other ranks before the test ends with a message that names them. 20 s at first.
void set_nccl_patience(double seconds);
/// What the communicator of this rank says from here on when it is asked for its state, as after a broken connection;
/// its sums hang until it is aborted.
void break_nccl(int rank, ncclResult_t how);

}  // namespace fovea::cuda_double
#endif
