// What is a matrix product, by cuBLAS: matmul, dense layers, and convolutions of 1×1. f32 (without TF32 unless
// allowed), f64, and bf16 and f16 on tensor cores, which add in f32.
#include "kernels/cuda/library_handles.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/runtime.h"
#include "kernels/devices.h"

namespace fovea::kernels::cuda {
namespace {

struct Factor {
  const void* data;
  bool transposed = false;
};

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f64: return CUDA_R_64F;
    case DType::bf16: return CUDA_R_16BF;
    case DType::f16: return CUDA_R_16F;
    default: return CUDA_R_32F;
  }
}

/// c[m,n] = op(a)[m,k]·op(b)[k,n] (+ c), all row-major. cuBLAS counts by columns and so sees every matrix transposed:
/// it is asked for cᵀ = op(b)ᵀ·op(a)ᵀ, which are the same bytes.
void product(std::int64_t m, std::int64_t n, std::int64_t k, Factor a, Factor b, const View& c,
             bool accumulate = false) {
  const bool wide = c.dtype == DType::f64;
  const cudaDataType_t type = type_of(c.dtype);
  const bool tf32 = c.dtype == DType::f32 && AllowTf32::allowed();
  const cublasComputeType_t compute = wide   ? CUBLAS_COMPUTE_64F
                                      : tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                             : CUBLAS_COMPUTE_32F;
  const double one64 = 1, add64 = accumulate ? 1 : 0;
  const float one32 = 1, add32 = accumulate ? 1 : 0;
  const void* one = wide ? static_cast<const void*>(&one64) : &one32;
  const void* add = wide ? static_cast<const void*>(&add64) : &add32;
  const auto op = [](const Factor& f) { return f.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const Cublas cublas(c.device.index);
  check(cublasGemmEx_64(cublas.get(), op(b), op(a), n, m, k, one, b.data, type, b.transposed ? k : n, a.data, type,
                        a.transposed ? m : k, add, c.data, type, n, compute, CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

/// The three products of y = act(x·w + bias) with x [m,k], w [k,n]; dense layers and 1×1 convolutions alike. Problem is
/// DenseProblem or Conv2dProblem.
template <class Problem>
void layer(const Problem& p, std::int64_t m, std::int64_t k, std::int64_t n) {
  using Direction = typename Problem::Direction;
  switch (p.direction) {
    case Direction::forward:
      product(m, n, k, {p.x.data}, {p.w.data}, p.out);
      if (p.bias || p.activation.kind != Activation::none) bias_activation(p.bias, p.activation, p.out, n);
      break;
    case Direction::backward_data: product(m, k, n, {p.y.data}, {p.w.data, true}, p.out); break;
    case Direction::backward_weights:
      product(k, n, m, {p.x.data, true}, {p.y.data}, p.out);
      if (p.dbias) column_sums(p.y, m, n, *p.dbias);
      break;
  }
}

}  // namespace

void matmul(const MatmulProblem& p) {
  product(p.m(), p.n(), p.k(), {p.a.data, p.transpose_a}, {p.b.data, p.transpose_b}, p.c, p.accumulate);
}

void dense(const DenseProblem& p) { layer(p, p.m(), p.k(), p.n()); }

const char* pointwise_declines(const Conv2dProblem& p) {
  if (const char* reason = needs_cuda(p.out)) return reason;
  if (p.kh() != 1 || p.kw() != 1) return "kernel is larger than 1×1";
  if (p.params.groups != 1) return "groups";
  if (!(p.params.stride == Size2{1, 1})) return "stride";
  if (!(p.params.padding == Padding{})) return "padding";
  return nullptr;
}

void pointwise(const Conv2dProblem& p) { layer(p, p.n() * p.h() * p.width(), p.ci(), p.co()); }

}  // namespace fovea::kernels::cuda
