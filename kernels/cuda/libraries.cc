#include "kernels/cuda/libraries.h"

#ifdef FOVEA_CUDA_LOADED
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>

#include "core/error.h"

namespace fovea::kernels::cuda {
namespace {

/// By the name that programs ask for, first where the system looks, then where the build found it.
void* open(const char* stem, int major) {
  const std::string file = str(stem, ".so.", major);
  if (void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  const std::string reason = dlerror();
  if (void* handle = dlopen((std::string(FOVEA_CUDA_LIBRARY_DIR "/") + file).c_str(), RTLD_NOW | RTLD_LOCAL))
    return handle;
  throw Error(ErrorKind::device, file, str("cannot be loaded: ", reason),
              "install it, or name its folder in LD_LIBRARY_PATH");
}

}  // namespace

void* library_symbol(Library library, const char* name) {
  const auto handle_of = [&] {
    if (library == Library::cublas) {
      static void* const cublas = open("libcublas", CUDART_VERSION / 1000);
      return cublas;
    }
    static void* const cudnn = open("libcudnn", CUDNN_MAJOR);
    return cudnn;
  };
  void* const found = dlsym(handle_of(), name);
  if (!found) throw Error(ErrorKind::device, name, str("the library lacks it: ", dlerror()), "install a newer one");
  return found;
}

}  // namespace fovea::kernels::cuda
#endif
