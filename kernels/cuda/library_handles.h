// The handles of cuBLAS and cuDNN: one per GPU, on that GPU's stream, made at the first use and kept until the end; of
// cuBLAS another for work that is recorded (graph.h).
#pragma once

#include <mutex>
#include <string_view>

#include "core/export.h"
#include "kernels/cuda/libraries.h"

namespace fovea::kernels::cuda {

/// Error{device} (Error{memory} where memory ran out) naming `what`, unless the call succeeded.
void check(cublasStatus_t status, std::string_view what);
void check(cudnnStatus_t status, std::string_view what);

/// While alive, the GPU is current on this thread, and this thread alone has its cuBLAS handle. Neither library allows
/// a handle to be used by two threads at once; calls only queue work, so nobody waits long.
class Cublas {
 public:
  explicit Cublas(int device);
  cublasHandle_t get() const { return handle_; }

 private:
  std::unique_lock<std::mutex> lock_;
  cublasHandle_t handle_ = nullptr;
};

/// The same for cuDNN.
class Cudnn {
 public:
  explicit Cudnn(int device);
  cudnnHandle_t get() const { return handle_; }

 private:
  std::unique_lock<std::mutex> lock_;
  cudnnHandle_t handle_ = nullptr;
};

/// Makes, before a recording, the handle of cuBLAS that it will use, if work on the GPU has used cuBLAS so far.
/// `capture` is the stream of all recordings on that GPU.
void prepare_recording(int device, cudaStream_t capture);

/// Destroys the handles of a GPU with their plans, and gives cuBLAS' workspace and kept weights back; the next call
/// makes new ones. No other thread may be using them.
void release_library_handles(int device);

}  // namespace fovea::kernels::cuda
