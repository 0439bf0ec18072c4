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
/// The engine that ran last, by its name in cudnn_engines.cc. Empty before any did.
std::string last_cudnn_engine();
/// Which graphs of several operations have engines: none; those that cuDNN 9.19 has some for in f32 on an H100 (asked
/// without one, by its description); all. The second at first.
enum class CudnnFusion { none, as_9_19, all };
void support_cudnn_fusion(CudnnFusion what);
/// While on, no engine accepts anything. Off at first.
void refuse_cudnn(bool on);

// ---- for the doubles
/// Queues a kernel of a library, as cuda_double::launch does; false if an injected failure of "launch" hit it.
bool launch_library(cudaStream_t stream, const char* name, std::initializer_list<const void*> addresses,
                    std::function<void()> run);
/// x rounded to TF32's 10 bits of mantissa, to nearest even.
float to_tf32(float x);

}  // namespace fovea::cuda_double
