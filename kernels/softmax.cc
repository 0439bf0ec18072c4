// Entry points of softmax, log-softmax and dropout: checks and the lists of implementations.
#include "kernels/check_internal.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cuda/entry.h"
#include "kernels/elementwise.h"
#include "kernels/problems.h"
#include "kernels/reference/elementwise.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

template <class Problem>
const char* reference_declines(const Problem& p) {
  return needs_cpu(p.out);
}
void reference_softmax_forward(const SoftmaxProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::softmax_forward<decltype(t)>(p); });
}
void reference_softmax_backward(const SoftmaxProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::softmax_backward<decltype(t)>(p); });
}
void reference_dropout_forward(const DropoutProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::dropout_forward<decltype(t)>(p); });
}
void reference_dropout_backward(const DropoutProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::dropout_backward<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not. Softmax and log-softmax share a list.
constexpr Implementation<SoftmaxProblem> kSoftmaxForward[] = {
    {"simd", simd::declines, simd::softmax},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::softmax),
    {"reference", reference_declines, reference_softmax_forward},
};
constexpr Implementation<SoftmaxProblem> kSoftmaxBackward[] = {
    {"simd", simd::declines, simd::softmax},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::softmax),
    {"reference", reference_declines, reference_softmax_backward},
};
constexpr Implementation<DropoutProblem> kDropoutForward[] = {
    {"simd", simd::declines, simd::dropout},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::dropout_forward),
    {"reference", reference_declines, reference_dropout_forward},
};
constexpr Implementation<DropoutProblem> kDropoutBackward[] = {
    {"simd", simd::declines, simd::dropout},
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::dropout_backward),
    {"reference", reference_declines, reference_dropout_backward},
};

void check_classes(std::string_view op, const Shape& x) {
  if (x.rank() < 1) throw Error(ErrorKind::shape, op, "input needs at least one axis, is a scalar");
}

void softmax_forward_of(std::string_view op, bool log, ConstView x, View y) {
  check_floating(op, {{"input", x}, {"result", y}});
  check_classes(op, x.shape);
  check_shape(op, {"result", y}, x.shape);
  SoftmaxProblem p;
  p.log = log;
  p.x = x;
  p.out = y;
  if (y.numel() > 0) dispatch<SoftmaxProblem>(op, kSoftmaxForward, p);
}

void softmax_backward_of(std::string_view op, bool log, ConstView y, ConstView dy, View dx) {
  check_floating(op, {{"result", y}, {"result gradient", dy}, {"input gradient", dx}});
  check_classes(op, y.shape);
  check_shape(op, {"result gradient", dy}, y.shape);
  check_shape(op, {"input gradient", dx}, y.shape);
  SoftmaxProblem p;
  p.pass = Pass::backward;
  p.log = log;
  p.y = y;
  p.dy = dy;
  p.out = dx;
  if (dx.numel() > 0) dispatch<SoftmaxProblem>(op, kSoftmaxBackward, p);
}

void check_rate(std::string_view op, double rate) {
  if (!(rate >= 0 && rate <= 1)) throw Error(ErrorKind::usage, op, str("rate must be from 0 to 1, got ", rate));
}

}  // namespace

void softmax_forward(ConstView x, View y) { softmax_forward_of("softmax_forward", false, x, y); }
void softmax_backward(ConstView y, ConstView dy, View dx) { softmax_backward_of("softmax_backward", false, y, dy, dx); }
void log_softmax_forward(ConstView x, View y) { softmax_forward_of("log_softmax_forward", true, x, y); }
void log_softmax_backward(ConstView y, ConstView dy, View dx) {
  softmax_backward_of("log_softmax_backward", true, y, dy, dx);
}

void dropout_forward(double rate, Rng rng, ConstView x, View y, View mask, std::int64_t first) {
  constexpr const char* kOp = "dropout_forward";
  check_maps(kOp, {{"input", x}, {"result", y}});
  check_shape(kOp, {"result", y}, x.shape);
  check_dtype(kOp, {"mask", mask}, DType::u8, x);
  check_shape(kOp, {"mask", mask}, x.shape);
  check_rate(kOp, rate);
  DropoutProblem p;
  p.rate = rate;
  p.rng = rng;
  p.first = first;
  p.in = x;
  p.out = y;
  p.mask_out = mask;
  if (y.numel() > 0) dispatch<DropoutProblem>(kOp, kDropoutForward, p);
}

void dropout_backward(double rate, ConstView mask, ConstView dy, View dx) {
  constexpr const char* kOp = "dropout_backward";
  check_maps(kOp, {{"result gradient", dy}, {"input gradient", dx}});
  check_shape(kOp, {"result gradient", dy}, dx.shape);
  check_dtype(kOp, {"mask", mask}, DType::u8, dy);
  check_shape(kOp, {"mask", mask}, dx.shape);
  check_rate(kOp, rate);
  DropoutProblem p;
  p.pass = Pass::backward;
  p.rate = rate;
  p.in = dy;
  p.mask = mask;
  p.out = dx;
  if (dx.numel() > 0) dispatch<DropoutProblem>(kOp, kDropoutBackward, p);
}

}  // namespace fovea::kernels
