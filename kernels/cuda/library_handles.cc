#include "kernels/cuda/library_handles.h"

#include <array>
#include <memory>
#include <string>

#include "core/error.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/weight_cache.h"

namespace fovea::kernels::cuda {
namespace {

/// What NVIDIA recommends and cuBLAS takes by itself. A workspace of ours keeps results the same from run to run, which
/// cuBLAS does not promise otherwise, and lets calls be captured in a CUDA graph.
std::size_t cublas_workspace(int device) { return std::size_t{capability_major(device) >= 9 ? 32u : 4u} << 20; }

constexpr auto kExactSums =
    static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);

struct DestroyCublas {
  void operator()(cublasContext* handle) const { cublasDestroy(handle); }
};
struct DestroyCudnn {
  void operator()(cudnnContext* handle) const { cudnnDestroy(handle); }
};
using CublasHandle = std::unique_ptr<cublasContext, DestroyCublas>;
using CudnnHandle = std::unique_ptr<cudnnContext, DestroyCudnn>;

struct CublasOfStream {
  std::mutex mutex;
  CublasHandle handle;
  void* workspace = nullptr;
};
struct PerDevice {
  CublasOfStream usual;
  /// For work that is recorded, on a stream of its own: another stream would cost a handle its workspace. Made before
  /// the recording begins, because that allocates.
  CublasOfStream recorded;
  // One handle of cuDNN: plans belong to it.
  std::mutex cudnn_mutex;
  CudnnHandle cudnn;
  cudaStream_t cudnn_stream = nullptr;
};

PerDevice& per_device(int index) {
  // Never destroyed: the driver may be gone when the program ends.
  static auto* all = new std::array<PerDevice, kMaxDevices>;
  return (*all)[static_cast<std::size_t>(index)];
}
void make_cublas(CublasOfStream& d, int device, cudaStream_t queue) {
  cublasHandle_t created = nullptr;
  check(cublasCreate(&created), "cublasCreate");
  CublasHandle handle(created);
  check(cublasSetStream(created, queue), "cublasSetStream");
  // Partial sums of products of halves are added in f32, too.
  check(cublasSetMathMode(created, kExactSums), "cublasSetMathMode");
  const std::size_t bytes = cublas_workspace(device);
  const cudaStream_t usual = stream(device);
  void* workspace = nullptr;
  check(cudaMallocAsync(&workspace, bytes, usual), "workspace of cuBLAS");
  if (const cublasStatus_t status = cublasSetWorkspace(created, workspace, bytes); status != CUBLAS_STATUS_SUCCESS) {
    cudaFreeAsync(workspace, usual);
    check(status, "cublasSetWorkspace");
  }
  d.workspace = workspace;
  d.handle = std::move(handle);
}

}  // namespace

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
  const Recording* const recorded = recording(device);
  PerDevice& d = per_device(device);
  CublasOfStream& of = recorded && recorded->capture ? d.recorded : d.usual;
  lock_ = std::unique_lock(of.mutex);
  if (!of.handle) make_cublas(of, device, queue);
  handle_ = of.handle.get();
}

Cudnn::Cudnn(int device) {
  const cudaStream_t queue = stream(device);
  PerDevice& d = per_device(device);
  lock_ = std::unique_lock(d.cudnn_mutex);
  if (!d.cudnn) {
    cudnnHandle_t created = nullptr;
    check(cudnnCreate(&created), "cudnnCreate");
    d.cudnn.reset(created);
  }
  if (d.cudnn_stream != queue) {  // a recording's, or back from it
    check(cudnnSetStream(d.cudnn.get(), queue), "cudnnSetStream");
    d.cudnn_stream = queue;
  }
  handle_ = d.cudnn.get();
}

void prepare_recording(int device, cudaStream_t capture) {
  PerDevice& d = per_device(device);
  {
    const std::lock_guard lock(d.usual.mutex);
    if (!d.usual.handle) return;
  }
  const std::lock_guard lock(d.recorded.mutex);
  if (!d.recorded.handle) make_cublas(d.recorded, device, capture);
}

void release_library_handles(int device) {
  clear_plan_cache(device);
  clear_weight_cache(device);
  const cudaStream_t queue = stream(device);
  for (CublasOfStream* d : {&per_device(device).usual, &per_device(device).recorded}) {
    const std::lock_guard lock(d->mutex);
    d->handle.reset();
    if (d->workspace) check(cudaFreeAsync(d->workspace, queue), "cudaFreeAsync");
    d->workspace = nullptr;
  }
  PerDevice& d = per_device(device);
  const std::lock_guard lock(d.cudnn_mutex);
  d.cudnn.reset();
  d.cudnn_stream = nullptr;
}

}  // namespace fovea::kernels::cuda
