// The double of cuBLAS: handles, and products by plain loops in double.
#include <cublas_v2.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "core/dtype.h"
#include "library_doubles.h"

namespace fovea::cuda_double {
void launch(cudaStream_t stream, const char* kernel, const void* functor, std::size_t bytes, std::function<void()> run);
}  // namespace fovea::cuda_double

using namespace fovea::cuda_double;

struct cublasContext : LibraryHandle {
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace {

/// One operand of a product: rows × columns as stored, column-major.
struct Stored {
  const void* data;
  std::int64_t rows, columns, leading;
  bool transposed;
};

void check_stored(const Stored& s, std::size_t size, const char* what) {
  if (s.leading < std::max<std::int64_t>(1, s.rows))
    broken(std::string("cublasGemmEx: leading dimension of ") + what + " is less than its rows");
  if (reinterpret_cast<std::uintptr_t>(s.data) % size != 0)
    broken(std::string("cublasGemmEx: ") + what + " is not aligned to its elements");
  const std::int64_t elements = s.leading * (s.columns - 1) + s.rows;
  check_device_memory(s.data, static_cast<std::size_t>(elements) * size, what);
}

template <class T>
void multiply(std::int64_t m, std::int64_t n, std::int64_t k, double alpha, const Stored& a, const Stored& b,
              double beta, const Stored& c, bool tf32) {
  const auto read = [&](const Stored& s, std::int64_t i, std::int64_t j) {
    const T value = static_cast<const T*>(s.data)[s.transposed ? j + i * s.leading : i + j * s.leading];
    if constexpr (sizeof(T) == 2) {
      return static_cast<double>(static_cast<float>(value));
    } else {
      return tf32 ? static_cast<double>(to_tf32(static_cast<float>(value))) : static_cast<double>(value);
    }
  };
  std::vector<double> row(static_cast<std::size_t>(k));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t l = 0; l < k; ++l) row[static_cast<std::size_t>(l)] = read(a, i, l);
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l) sum += row[static_cast<std::size_t>(l)] * read(b, l, j);
      T& to = static_cast<T*>(const_cast<void*>(c.data))[i + j * c.leading];
      // With beta = 0 the old values are not read: they may be NaN.
      if (beta != 0) {
        sum = alpha * sum + beta * read({c.data, c.rows, c.columns, c.leading, false}, i, j);
      } else {
        sum *= alpha;
      }
      if constexpr (sizeof(T) == 2) {
        to = T(static_cast<float>(sum));
      } else {
        to = static_cast<T>(sum);
      }
    }
  }
}

double scalar(const void* from, bool wide) {
  if (!from) broken("cublasGemmEx: alpha or beta is null");
  double d = 0;
  float f = 0;
  wide ? std::memcpy(&d, from, sizeof d) : std::memcpy(&f, from, sizeof f);
  return wide ? d : static_cast<double>(f);
}

}  // namespace

namespace fovea::cuda_double {

std::int64_t live_cublas_handles() { return LiveHandles<cublasContext>::count(); }

int current_gpu() {
  int device = -1;
  cudaGetDevice(&device);
  return device;
}

bool launch_library(cudaStream_t stream, const char* name, std::initializer_list<const void*> addresses,
                    std::function<void()> run) {
  const std::vector<const void*> given(addresses);
  launch(stream, name, given.data(), given.size() * sizeof(void*), std::move(run));
  return cudaPeekAtLastError() == cudaSuccess;
}

float to_tf32(float x) {
  auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;  // infinite or NaN
  bits += 0xfffu + ((bits >> 13) & 1u);
  return std::bit_cast<float>(bits & ~0x1fffu);
}

}  // namespace fovea::cuda_double

extern "C" {

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}
const char* cublasGetStatusString(cublasStatus_t) { return "an injected failure"; }

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (fails_now("cublas")) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = LiveHandles<cublasContext>::create();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  LiveHandles<cublasContext>::destroy(handle, "cublasDestroy");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  const Use use(handle, "cublasSetStream");
  if (fails_now("cublas")) return CUBLAS_STATUS_INTERNAL_ERROR;
  handle->stream = stream;
  handle->workspace = nullptr;  // a new stream means the default workspace again
  handle->workspace_bytes = 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  const Use use(handle, "cublasSetWorkspace");
  if (fails_now("cublas")) return CUBLAS_STATUS_INTERNAL_ERROR;
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0) broken("cublasSetWorkspace: not aligned to 256 bytes");
  check_device_memory(workspace, bytes, "workspace of cuBLAS");
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  const Use use(handle, "cublasSetMathMode");
  if (fails_now("cublas")) return CUBLAS_STATUS_INTERNAL_ERROR;
  constexpr int kKnown = CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
  if ((static_cast<int>(mode) & ~kKnown) != 0) broken("cublasSetMathMode: a mode the double does not know");
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int64_t m,
                               int64_t n, int64_t k, const void* alpha, const void* a, cudaDataType type_a, int64_t lda,
                               const void* b, cudaDataType type_b, int64_t ldb, const void* beta, void* c,
                               cudaDataType type_c, int64_t ldc, cublasComputeType_t compute, cublasGemmAlgo_t algo) {
  const Use use(handle, "cublasGemmEx");
  if (!handle->stream) broken("cublasGemmEx: no stream was set");
  if (!handle->workspace) broken("cublasGemmEx: no workspace was set, results may differ from run to run");
  if (m < 1 || n < 1 || k < 1) broken("cublasGemmEx: an extent is not positive");
  if (algo != CUBLAS_GEMM_DEFAULT) broken("cublasGemmEx: only the default algorithm is meant to be used");
  if (op_a == CUBLAS_OP_C || op_b == CUBLAS_OP_C) broken("cublasGemmEx: nothing here is complex");
  const bool wide = type_c == CUDA_R_64F;
  if (type_a != type_c || type_b != type_c) broken("cublasGemmEx: element types differ");
  const bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  const bool halves = type_c == CUDA_R_16BF || type_c == CUDA_R_16F;
  if (!wide && !halves && type_c != CUDA_R_32F) broken("cublasGemmEx: an element type the double does not know");
  if (compute != (wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F) && (!tf32 || wide || halves))
    broken("cublasGemmEx: element and compute type do not go together");
  if (halves && (static_cast<int>(handle->math) & CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION) == 0)
    broken("cublasGemmEx: partial sums of halves would be added in halves");
  const std::size_t size = wide ? 8 : halves ? 2 : 4;
  const bool ta = op_a == CUBLAS_OP_T, tb = op_b == CUBLAS_OP_T;
  const Stored sa{a, ta ? k : m, ta ? m : k, lda, ta}, sb{b, tb ? n : k, tb ? k : n, ldb, tb}, sc{c, m, n, ldc, false};
  check_stored(sa, size, "A");
  check_stored(sb, size, "B");
  check_stored(sc, size, "C");
  const double scale = scalar(alpha, wide), keep = scalar(beta, wide);
  check_device_memory(handle->workspace, handle->workspace_bytes, "workspace of cuBLAS");
  if (fails_now("cublas")) return CUBLAS_STATUS_EXECUTION_FAILED;
  void* scratch = handle->workspace;
  const bool queued = launch_library(handle->stream, "cublasGemmEx", {a, b, c, scratch}, [=] {
    std::memset(scratch, 0x5a, 4096);  // it is cuBLAS' to write
    switch (type_c) {
      case CUDA_R_64F: return multiply<double>(m, n, k, scale, sa, sb, keep, sc, false);
      case CUDA_R_16BF: return multiply<fovea::bf16>(m, n, k, scale, sa, sb, keep, sc, false);
      case CUDA_R_16F: return multiply<fovea::f16>(m, n, k, scale, sa, sb, keep, sc, false);
      default: return multiply<float>(m, n, k, scale, sa, sb, keep, sc, tf32);
    }
  });
  return queued ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
