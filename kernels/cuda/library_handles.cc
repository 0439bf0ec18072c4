#include "kernels/cuda/library_handles.h"

#include <array>
#include <memory>
#include <string>

#include "core/error.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/weight_cache.h"

namespace fovea::kernels::cuda {
namespace {

thread_local bool tuning = false;

/// What NVIDIA recommends and cuBLAS takes by itself. A workspace of ours keeps results the same from run to run, which
/// cuBLAS does not promise otherwise, and lets calls be captured in a CUDA graph.
std::size_t cublas_workspace(int device) {
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  return std::size_t{major >= 9 ? 32u : 4u} << 20;
}

struct DestroyCublas {
  void operator()(cublasContext* handle) const { cublasDestroy(handle); }
};
struct DestroyCudnn {
  void operator()(cudnnContext* handle) const { cudnnDestroy(handle); }
};
using CublasHandle = std::unique_ptr<cublasContext, DestroyCublas>;
using CudnnHandle = std::unique_ptr<cudnnContext, DestroyCudnn>;

struct PerDevice {
  std::mutex cublas_mutex, cudnn_mutex;
  CublasHandle cublas;
  void* workspace = nullptr;
  CudnnHandle cudnn;
};

PerDevice& per_device(int index) {
  // Never destroyed: the driver may be gone when the program ends.
  static auto* all = new std::array<PerDevice, kMaxDevices>;
  return (*all)[static_cast<std::size_t>(index)];
}

}  // namespace

bool autotune() { return tuning; }
Autotune::Autotune(bool on) : before_(tuning) { tuning = on; }
Autotune::~Autotune() { tuning = before_; }

void check(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  cudaGetLastError();  // a failed launch is told here, not to the next caller
  const bool memory = status == CUBLAS_STATUS_ALLOC_FAILED;
  throw Error(memory ? ErrorKind::memory : ErrorKind::device, what,
              str("cuBLAS says ", cublasGetStatusName(status), ": ", cublasGetStatusString(status)),
              memory ? kOutOfMemory : "");
}

void check(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  cudaGetLastError();
  const bool memory = status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
                      status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  std::array<char, 512> detail{};
  cudnnGetLastErrorString(detail.data(), detail.size());
  throw Error(memory ? ErrorKind::memory : ErrorKind::device, what,
              str("cuDNN says ", cudnnGetErrorString(status), detail[0] ? ": " : "", std::string(detail.data())),
              memory ? kOutOfMemory : "");
}

Cublas::Cublas(int device) {
  const cudaStream_t queue = stream(device);
  PerDevice& d = per_device(device);
  lock_ = std::unique_lock(d.cublas_mutex);
  if (!d.cublas) {
    cublasHandle_t created = nullptr;
    check(cublasCreate(&created), "cublasCreate");
    CublasHandle handle(created);
    check(cublasSetStream(created, queue), "cublasSetStream");
    const std::size_t bytes = cublas_workspace(device);
    void* workspace = nullptr;
    check(cudaMallocAsync(&workspace, bytes, queue), "workspace of cuBLAS");
    if (const cublasStatus_t status = cublasSetWorkspace(created, workspace, bytes); status != CUBLAS_STATUS_SUCCESS) {
      cudaFreeAsync(workspace, queue);
      check(status, "cublasSetWorkspace");
    }
    d.workspace = workspace;
    d.cublas = std::move(handle);
  }
  handle_ = d.cublas.get();
}

Cudnn::Cudnn(int device) {
  const cudaStream_t queue = stream(device);
  PerDevice& d = per_device(device);
  lock_ = std::unique_lock(d.cudnn_mutex);
  if (!d.cudnn) {
    cudnnHandle_t created = nullptr;
    check(cudnnCreate(&created), "cudnnCreate");
    CudnnHandle handle(created);
    check(cudnnSetStream(created, queue), "cudnnSetStream");
    d.cudnn = std::move(handle);
  }
  handle_ = d.cudnn.get();
}

void release_library_handles(int device) {
  clear_plan_cache(device);
  clear_weight_cache(device);
  const cudaStream_t queue = stream(device);
  PerDevice& d = per_device(device);
  {
    const std::lock_guard lock(d.cublas_mutex);
    d.cublas.reset();
    if (d.workspace) check(cudaFreeAsync(d.workspace, queue), "cudaFreeAsync");
    d.workspace = nullptr;
  }
  const std::lock_guard lock(d.cudnn_mutex);
  d.cudnn.reset();
}

}  // namespace fovea::kernels::cuda
