// Entry points of dense layers and matrix products: checks and the lists of implementations.
#include "kernels/dense.h"

#include "kernels/check_internal.h"
#include "kernels/cpu/onednn/adapter.h"
#include "kernels/cpu/simd/gemm.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/reference/dense.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

using Direction = DenseProblem::Direction;

const char* reference_matmul_declines(const MatmulProblem& p) { return needs_cpu(p.c); }
void reference_matmul(const MatmulProblem& p) {
  by_scalar(p.c.dtype, [&](auto t) { reference::matmul<decltype(t)>(p); });
}
const char* reference_dense_declines(const DenseProblem& p) { return needs_cpu(p.out); }
void reference_dense(const DenseProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::dense<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<MatmulProblem> kMatmul[] = {
    {"simd:gemm", simd::matmul_declines, simd::matmul_run},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::matmul_declines, onednn::matmul_run},
#endif
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::matmul),
    {"reference", reference_matmul_declines, reference_matmul},
};
constexpr Implementation<DenseProblem> kForward[] = {
    {"simd:gemm", simd::dense_declines, simd::dense_run},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::dense_declines, onednn::dense_run},
#endif
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::dense),
    {"reference", reference_dense_declines, reference_dense},
};
constexpr Implementation<DenseProblem> kBackwardData[] = {
    {"simd:gemm", simd::dense_declines, simd::dense_run},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::dense_declines, onednn::dense_run},
#endif
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::dense),
    {"reference", reference_dense_declines, reference_dense},
};
constexpr Implementation<DenseProblem> kBackwardWeights[] = {
    {"simd:gemm", simd::dense_declines, simd::dense_run},
#ifdef FOVEA_ONEDNN
    {"onednn", onednn::dense_declines, onednn::dense_run},
#endif
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::dense),
    {"reference", reference_dense_declines, reference_dense},
};

DenseProblem make_problem(std::string_view op, Direction direction, const Operand& x, const Operand& w,
                          const Operand& bias, const Operand& y) {
  check_maps(op, {x, w, y});
  check_parameters(op, x, {bias});
  const Shape &xs = x.view->shape, &ws = w.view->shape;
  check_rank(op, x.name, xs, 2, "(samples, features)");
  check_rank(op, w.name, ws, 2, "(input features, output features)");
  if (ws.numel() == 0) throw Error(ErrorKind::shape, op, str("weights are empty: ", ws));
  if (ws[0] != xs[1]) {
    throw Error(ErrorKind::shape, op,
                str(w.name, " expect ", ws[0], " input features, ", x.name, " has ", xs[1], " (", xs, " by ", ws, ")"));
  }
  check_shape(op, y, Shape{xs[0], ws[1]});
  check_shape(op, bias, Shape{ws[1]});
  DenseProblem p;
  p.direction = direction;
  p.x = *x.view;
  p.w = *w.view;
  p.y = *y.view;
  return p;
}

}  // namespace

void matmul(ConstView a, bool transpose_a, ConstView b, bool transpose_b, View c, bool accumulate) {
  constexpr const char* kOp = "matmul";
  check_maps(kOp, {{"a", a}, {"b", b}, {"c", c}});
  check_rank(kOp, "a", a.shape, 2, "(rows, columns)");
  check_rank(kOp, "b", b.shape, 2, "(rows, columns)");
  const std::int64_t m = a.shape[transpose_a ? 1 : 0], k = a.shape[transpose_a ? 0 : 1];
  const std::int64_t kb = b.shape[transpose_b ? 1 : 0], n = b.shape[transpose_b ? 0 : 1];
  if (k != kb) {
    throw Error(ErrorKind::shape, kOp,
                str("inner extents must agree, have ", k, " and ", kb, " (a ", a.shape,
                    transpose_a ? " transposed" : "", ", b ", b.shape, transpose_b ? " transposed)" : ")"));
  }
  check_shape(kOp, {"c", c}, Shape{m, n});
  if (c.numel() == 0) return;
  if (k == 0) {  // an empty sum
    if (!accumulate) fill_zero(c);
    return;
  }
  MatmulProblem p;
  p.a = a;
  p.b = b;
  p.transpose_a = transpose_a;
  p.transpose_b = transpose_b;
  p.c = c;
  p.accumulate = accumulate;
  dispatch<MatmulProblem>("matmul", kMatmul, p);
}

void dense_forward(ConstView x, ConstView w, OptionalView bias, View y, ActivationParams act) {
  DenseProblem p =
      make_problem("dense", Direction::forward, {"input", x}, {"weights", w}, {"bias", bias}, {"result", y});
  check_activation("dense", act);
  p.bias = bias;
  p.out = y;
  p.activation = act;
  if (y.numel() == 0) return;
  dispatch<DenseProblem>("dense_forward", kForward, p);
}

void dense_backward_data(ConstView dy, ConstView w, View dx) {
  DenseProblem p = make_problem("dense_backward_data", Direction::backward_data, {"input gradient", dx}, {"weights", w},
                                {"bias", OptionalView()}, {"result gradient", dy});
  p.out = dx;
  if (dx.numel() == 0) return;
  dispatch<DenseProblem>("dense_backward_data", kBackwardData, p);
}

void dense_backward_weights(ConstView x, ConstView dy, View dw, std::optional<View> dbias) {
  DenseProblem p = make_problem("dense_backward_weights", Direction::backward_weights, {"input", x},
                                {"weight gradient", dw}, {"bias gradient", dbias}, {"result gradient", dy});
  p.out = dw;
  p.dbias = dbias;
  if (x.numel() == 0) {  // no sample, no gradient
    fill_zero(dw);
    if (dbias) fill_zero(*dbias);
    return;
  }
  dispatch<DenseProblem>("dense_backward_weights", kBackwardWeights, p);
}

}  // namespace fovea::kernels
