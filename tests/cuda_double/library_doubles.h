// What the doubles of cuBLAS and cuDNN share, and what tests may ask of them.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "cuda_double.h"

namespace fovea::cuda_double {

// ---- for tests
std::int64_t live_cublas_handles();
std::int64_t live_cudnn_handles();
/// Descriptors of cuDNN's graph API that were created and not destroyed.
std::int64_t live_cudnn_descriptors();
/// Times that an engine heuristic was asked, since the start.
std::int64_t cudnn_heuristics_asked();
/// The engine that ran last: "plain", "fused" and so on, see the list in cudnn_engines.cc. Empty before any did.
std::string last_cudnn_engine();
/// Whether graphs of more than one operation are supported (as on GPUs without an engine for them). True at first.
void support_cudnn_fusion(bool on);
/// While on, no engine accepts anything. Off at first.
void refuse_cudnn(bool on);

// ---- for the doubles
/// Queues a kernel of a library, as cuda_double::launch does; false if an injected failure of "launch" hit it.
bool launch_library(cudaStream_t stream, const char* name, std::initializer_list<const void*> addresses,
                    std::function<void()> run);
/// x rounded to TF32's 10 bits of mantissa, to nearest even.
float to_tf32(float x);

}  // namespace fovea::cuda_double
