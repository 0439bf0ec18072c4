// How tests name a convolution in their messages.
#pragma once

#include <string>

#include "core/error.h"
#include "kernels/conv2d.h"

namespace fovea::test {

inline std::string words(const Shape& x, const Shape& w, const kernels::Conv2dParams& params) {
  const kernels::Padding& p = params.padding;
  return str("x ", x, " w ", w, " stride ", params.stride.h, ",", params.stride.w, " dilation ", params.dilation.h, ",",
             params.dilation.w,
             p.rule == kernels::Padding::Rule::tf_same ? std::string(" tf_same")
                                                       : str(" pad ", p.top, ",", p.bottom, ",", p.left, ",", p.right),
             " groups ", params.groups);
}

}  // namespace fovea::test
