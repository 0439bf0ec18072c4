// A strict test double of the CUDA runtime, cuBLAS and cuDNN: host memory, the same calls. Linked instead of the real
// libraries with -DFOVEA_CUDA=DOUBLE, so that the whole backend runs in CI, on machines without a GPU.
//
// What it is strict about:
//   - "GPU" memory cannot be touched by host code: its pages are only open while queued work runs;
//   - work is queued and runs as late as possible: at a synchronisation. A forgotten wait reads old values;
//   - memory that was freed, or belongs to another GPU or to the host, may not be handed to a kernel or copy;
//   - fresh and freed memory holds NaN;
//   - calls are checked against the rules of their documentation; breaking one ends the test with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <cuda_runtime_api.h>

namespace fovea::cuda_double {

/// Ends the program: a rule of the API was broken, which on a GPU would be undefined behaviour.
[[noreturn]] void broken(const std::string& what);

/// For the doubles of the libraries: runs `run` in the stream's order.
void enqueue(cudaStream_t stream, const char* name, std::function<void()> run);
/// Ends the program unless [data, data + bytes) is live memory of the GPU that is current (or of the stream).
void check_device_memory(const void* data, std::size_t bytes, const char* what);

// ---- for tests
/// The next `times` calls of this kind fail after `after` that succeed: "cudaMallocAsync", "launch", "cudnn", "cublas".
void fail(const std::string& call, int after = 0, int times = 1);
void stop_failing();
std::int64_t live_bytes();
std::int64_t live_allocations();
/// Kernels launched, library calls included, since the start.
std::int64_t launches();
/// Bytes copied between host and GPU since the start, either way: who copies in silence is found out.
std::int64_t copied_bytes();
/// Memory of each of the two GPUs; allocations beyond it fail.
void set_memory_limit(std::size_t bytes);
/// The first number of the GPUs' compute capability. 8 at first.
void set_capability(int major);
/// For the doubles: whether this call is to fail now.
bool fails_now(const char* call);

}  // namespace fovea::cuda_double
