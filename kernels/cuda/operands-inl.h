// What kernels of several files take from their problems: optional operands, and the geometry of a convolution.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/problems.h"

namespace fovea::kernels::cuda {

template <class T>
const T* optional_ptr(const OptionalView& view) {
  return view ? view->ptr<T>() : nullptr;
}
template <class T>
T* optional_ptr(const std::optional<View>& view) {
  return view ? view->ptr<T>() : nullptr;
}

/// Extents of a convolution, and the input's row or column that a result's tap reads (maybe outside the image).
struct ConvGeometry {
  std::int64_t n, h, w, ci, kh, kw, ho, wo, co, group_in, group_out;
  std::int64_t stride_h, stride_w, dilation_h, dilation_w, top, left;

  explicit ConvGeometry(const Conv2dProblem& p)
      : n(p.n()),
        h(p.h()),
        w(p.width()),
        ci(p.ci()),
        kh(p.kh()),
        kw(p.kw()),
        ho(p.ho()),
        wo(p.wo()),
        co(p.co()),
        group_in(ci / p.params.groups),
        group_out(co / p.params.groups),
        stride_h(p.params.stride.h),
        stride_w(p.params.stride.w),
        dilation_h(p.params.dilation.h),
        dilation_w(p.params.dilation.w),
        top(p.params.padding.top),
        left(p.params.padding.left) {}

  FOVEA_HD std::int64_t row(std::int64_t i, std::int64_t a) const { return i * stride_h + a * dilation_h - top; }
  FOVEA_HD std::int64_t column(std::int64_t j, std::int64_t b) const { return j * stride_w + b * dilation_w - left; }
};

}  // namespace fovea::kernels::cuda
