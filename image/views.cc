#include "image/views.h"

#include <algorithm>

#include "core/error.h"

namespace fovea::image {

Tensor mirrored(const Tensor& x) {
  if (!x.defined() || x.rank() != 4 || x.dtype() != DType::f32)
    throw Error(ErrorKind::shape, "mirror images", "expected pictures f32 [N,H,W,C]");
  const Tensor here = x.to(kCpu);
  Tensor out(x.shape());
  const std::int64_t rows = x.dim(0) * x.dim(1), width = x.dim(2), channels = x.dim(3);
  const float* from = here.data<float>();
  float* to = out.mutable_data<float>();
  for (std::int64_t row = 0; row < rows; ++row, from += width * channels) {
    for (std::int64_t column = width; column-- > 0;) to = std::copy_n(from + column * channels, channels, to);
  }
  return out.to(x.device());
}

Tensor forward_views(const Preprocessing& preprocessing, const Tensor& x,
                     const std::function<Tensor(const Tensor&)>& forward) {
  const Tensor plain = forward(x);
  if (!preprocessing.mirrored) return plain;
  const Tensor here = plain.to(kCpu).to(DType::f32), other = forward(mirrored(x)).to(kCpu).to(DType::f32);
  Tensor mean(here.shape());
  std::transform(here.data<float>(), here.data<float>() + here.numel(), other.data<float>(), mean.mutable_data<float>(),
                 [](float a, float b) { return (a + b) / 2; });
  return mean.to(plain.device());
}

}  // namespace fovea::image
