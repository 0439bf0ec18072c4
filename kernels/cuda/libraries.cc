#include "kernels/cuda/libraries.h"

#ifdef FOVEA_CUDA_LOADED
#include <cuda_runtime_api.h>

#include <mutex>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/io/shared_library.h"

namespace fovea::kernels::cuda {
namespace {

/// First where the system looks, then where the build found it.
SharedLibrary open(const char* stem, int major) {
  const std::string file = str(stem, ".so.", major);
  return SharedLibrary({file, FOVEA_CUDA_LIBRARY_DIR "/" + file});
}

}  // namespace

void* library_symbol(Library library, const char* name) {
  static std::mutex mutex;
  static std::optional<SharedLibrary> cublas, cudnn;
  const std::lock_guard lock(mutex);
  std::optional<SharedLibrary>& from = library == Library::cublas ? cublas : cudnn;
  if (!from)
    from = library == Library::cublas ? open("libcublas", CUDART_VERSION / 1000) : open("libcudnn", CUDNN_MAJOR);
  if (void* const found = from->symbol(name)) return found;
  const std::string problem = from->problem();
  from.reset();  // the next call looks again
  throw Error(ErrorKind::device, name, problem, "install the library, or name its folder in LD_LIBRARY_PATH");
}

}  // namespace fovea::kernels::cuda
#endif
