// Entry points of the separable resize: checks and the lists of implementations.
#include "kernels/reference/resize.h"
#include "kernels/check_internal.h"
#include "kernels/cuda/entry.h"
#include "kernels/elementwise.h"
#include "kernels/problems.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

const char* reference_declines(const ResizeProblem& p) { return needs_cpu(p.out); }
void reference_forward(const ResizeProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::resize_forward<decltype(t)>(p); });
}
void reference_backward(const ResizeProblem& p) {
  by_scalar(p.out.dtype, [&](auto t) { reference::resize_backward<decltype(t)>(p); });
}

// Fastest first; each either runs a problem or says why not.
constexpr Implementation<ResizeProblem> kForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::resize),
    {"reference", reference_declines, reference_forward},
};
constexpr Implementation<ResizeProblem> kBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::resize),
    {"reference", reference_declines, reference_backward},
};

void check(std::string_view op, const Operand& x, const Operand& y) {
  check_floating(op, {x, y});
  const Shape &xs = x.view->shape, &ys = y.view->shape;
  for (const Operand* o : {&x, &y}) {
    const Shape& s = o->view->shape;
    check_rank(op, o->name, s, 4, "(NHWC)");
    if (s[1] < 1 || s[2] < 1)
      throw Error(ErrorKind::shape, op, str("an image needs at least one pixel, ", o->name, " is NHWC ", s));
  }
  if (xs[0] != ys[0] || xs[3] != ys[3]) {
    throw Error(ErrorKind::shape, op,
                str("batch and channels of ", x.name, " and ", y.name, " must agree, have NHWC ", xs, " and ", ys));
  }
}

}  // namespace

void resize_forward(const ResizeParams& params, ConstView x, View y) {
  check("resize", {"input", x}, {"result", y});
  if (y.numel() == 0) return;
  dispatch<ResizeProblem>("resize_forward", kForward, {Pass::forward, params, x, y});
}

void resize_backward(const ResizeParams& params, ConstView dy, View dx) {
  check("resize_backward", {"input gradient", dx}, {"result gradient", dy});
  if (dx.numel() == 0) return;
  dispatch<ResizeProblem>("resize_backward", kBackward, {Pass::backward, params, dy, dx});
}

}  // namespace fovea::kernels
