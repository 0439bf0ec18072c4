// The double of cuDNN: handles.
#include <cudnn_graph.h>

#include <cstdio>
#include <mutex>
#include <set>

#include "library_doubles.h"

using namespace fovea::cuda_double;

struct cudnnContext {
  int device = 0;
  cudaStream_t stream = nullptr;
};

namespace {

struct Handles {
  std::mutex mutex;
  std::set<const cudnnContext*> live;
};
Handles& handles() {
  static auto* made = new Handles;
  return *made;
}

int current_device() {
  int device = -1;
  cudaGetDevice(&device);
  return device;
}

/// Ends the program unless the handle lives and belongs to the current GPU.
void check_handle(const cudnnContext* handle, const char* call) {
  const std::lock_guard lock(handles().mutex);
  if (!handles().live.contains(handle)) broken(std::string(call) + ": the handle was destroyed or never created");
  if (handle->device != current_device()) broken(std::string(call) + ": the handle belongs to another GPU");
}

}  // namespace

namespace fovea::cuda_double {
std::int64_t live_cudnn_handles() {
  const std::lock_guard lock(handles().mutex);
  return static_cast<std::int64_t>(handles().live.size());
}
}  // namespace fovea::cuda_double

extern "C" {

size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_INTERNAL_ERROR";
  }
}
void cudnnGetLastErrorString(char* message, size_t size) { std::snprintf(message, size, "an injected failure"); }

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  *handle = new cudnnContext{current_device()};
  const std::lock_guard lock(handles().mutex);
  handles().live.insert(*handle);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  {
    const std::lock_guard lock(handles().mutex);
    if (handles().live.erase(handle) == 0) broken("cudnnDestroy: the handle was destroyed or never created");
  }
  delete handle;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  check_handle(handle, "cudnnSetStream");
  if (fails_now("cudnn")) return CUDNN_STATUS_INTERNAL_ERROR;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
