// cuBLAS, cuDNN and NCCL (nccl_library.h) are loaded when a GPU first needs them, not when the program starts: a
// program that stays on the CPU does not pay for them (100 ms and 140 MB), and starts on machines that lack them.
// Below, each function of theirs that we call is an object of the same name, which hides it from code in this
// namespace. The tests' build links its doubles.
#pragma once

#include <cublas_v2.h>
#include <cudnn_graph.h>

#include <atomic>

namespace fovea::kernels::cuda {

#ifdef FOVEA_CUDA_LOADED
enum class Library { cublas, cudnn, nccl };

/// The address of a function; Error{device} saying which library cannot be loaded, or lacks it.
void* library_symbol(Library library, const char* name);

template <class F>
class Loaded;
template <class R, class... A>
class Loaded<R (*)(A...)> {
 public:
  constexpr Loaded(Library library, const char* name) : library_(library), name_(name) {}
  R operator()(A... arguments) const {
    void* found = found_.load(std::memory_order_acquire);
    if (!found) {
      found = library_symbol(library_, name_);
      found_.store(found, std::memory_order_release);
    }
    return reinterpret_cast<R (*)(A...)>(found)(arguments...);
  }

 private:
  Library library_;
  const char* name_;
  mutable std::atomic<void*> found_{nullptr};
};

#define FOVEA_LOADED(library, name) inline constinit const Loaded<decltype(&::name)> name(Library::library, #name)
FOVEA_LOADED(cublas, cublasCreate_v2);
FOVEA_LOADED(cublas, cublasDestroy_v2);
FOVEA_LOADED(cublas, cublasSetStream_v2);
FOVEA_LOADED(cublas, cublasSetWorkspace_v2);
FOVEA_LOADED(cublas, cublasSetMathMode);
FOVEA_LOADED(cublas, cublasGemmEx_64);
FOVEA_LOADED(cublas, cublasGetStatusName);
FOVEA_LOADED(cublas, cublasGetStatusString);
FOVEA_LOADED(cudnn, cudnnCreate);
FOVEA_LOADED(cudnn, cudnnDestroy);
FOVEA_LOADED(cudnn, cudnnSetStream);
FOVEA_LOADED(cudnn, cudnnGetErrorString);
FOVEA_LOADED(cudnn, cudnnGetLastErrorString);
FOVEA_LOADED(cudnn, cudnnBackendCreateDescriptor);
FOVEA_LOADED(cudnn, cudnnBackendDestroyDescriptor);
FOVEA_LOADED(cudnn, cudnnBackendSetAttribute);
FOVEA_LOADED(cudnn, cudnnBackendGetAttribute);
FOVEA_LOADED(cudnn, cudnnBackendFinalize);
FOVEA_LOADED(cudnn, cudnnBackendExecute);
#undef FOVEA_LOADED
#endif

}  // namespace fovea::kernels::cuda
