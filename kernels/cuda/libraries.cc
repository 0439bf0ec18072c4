#include "kernels/cuda/libraries.h"

#ifdef FOVEA_CUDA_LOADED
#include <cuda_runtime_api.h>

#include <array>
#include <mutex>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/io/shared_library.h"

namespace fovea::kernels::cuda {
namespace {

/// First where the system looks, then where the build found it.
SharedLibrary open(const char* stem, int major, const std::string& folder) {
  const std::string file = str(stem, ".so.", major);
  return SharedLibrary({file, folder + "/" + file});
}

SharedLibrary open(Library library) {
  switch (library) {
    case Library::cublas: return open("libcublas", CUDART_VERSION / 1000, FOVEA_CUDA_LIBRARY_DIR);
    case Library::cudnn: return open("libcudnn", CUDNN_MAJOR, FOVEA_CUDA_LIBRARY_DIR);
    case Library::nccl: return open("libnccl", 2, FOVEA_NCCL_LIBRARY_DIR);
  }
  return SharedLibrary({});
}

}  // namespace

void* library_symbol(Library library, const char* name) {
  static std::mutex mutex;
  static std::array<std::optional<SharedLibrary>, 3> all;
  const std::lock_guard lock(mutex);
  std::optional<SharedLibrary>& from = all[static_cast<std::size_t>(library)];
  if (!from) from = open(library);
  if (void* const found = from->symbol(name)) return found;
  const std::string problem = from->problem();
  from.reset();  // the next call looks again
  throw Error(ErrorKind::device, name, problem, "install the library, or name its folder in LD_LIBRARY_PATH");
}

}  // namespace fovea::kernels::cuda
#endif
