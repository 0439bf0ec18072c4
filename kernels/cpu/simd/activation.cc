// Activations, forward: one load and one store per element. ReLU and ReLU6 run at memory bandwidth; the
// others at one polynomial of math-inl.h each, two vectors side by side.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/activation.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/activation_raw.h"
#include "kernels/cpu/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

template <class F>
HWY_INLINE void map(const float* x, float* y, std::int64_t n, F f) {
  const Full d;
  const One one;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {  // two at once hide the latency of the polynomials
    const auto a = f(d, hn::LoadU(d, x + i));
    const auto b = f(d, hn::LoadU(d, x + i + lanes));
    hn::StoreU(a, d, y + i);
    hn::StoreU(b, d, y + i + lanes);
  }
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(d, hn::LoadU(d, x + i)), d, y + i);
  for (; i < n; ++i) hn::StoreU(f(one, hn::LoadU(one, x + i)), one, y + i);
}

/// Rows of `columns` values, `stride` apart.
struct Rows {
  const float* x;
  float* y;
  std::int64_t stride, rows, columns;
};

template <class F>
void each_row(const Rows& r, F f) {
  const Full d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (r.columns == 2 * lanes) {  // a panel of the matrix kernel, where loops of one round would cost as much as f
    for (std::int64_t i = 0; i < r.rows; ++i) {
      const float* x = r.x + i * r.stride;
      float* y = r.y + i * r.stride;
      const auto a = f(d, hn::LoadU(d, x));
      const auto b = f(d, hn::LoadU(d, x + lanes));
      hn::StoreU(a, d, y);
      hn::StoreU(b, d, y + lanes);
    }
    return;
  }
  for (std::int64_t i = 0; i < r.rows; ++i) map(r.x + i * r.stride, r.y + i * r.stride, r.columns, f);
}

void forward(Activation kind, float alpha, const Rows& r) {
  switch (kind) {
    case Activation::none: return each_row(r, Identity());
    case Activation::relu: return each_row(r, Relu());
    case Activation::relu6: return each_row(r, Relu6());
    case Activation::leaky_relu: return each_row(r, LeakyRelu{alpha});
    case Activation::sigmoid: return each_row(r, Sigmoid());
    case Activation::silu: return each_row(r, Silu());
    case Activation::hard_swish: return each_row(r, HardSwish());
    case Activation::hard_sigmoid: return each_row(r, HardSigmoid());
    case Activation::gelu: return each_row(r, Gelu());
    case Activation::gelu_tanh: return each_row(r, GeluTanh());
    case Activation::tanh: return each_row(r, Tanh());
  }
}

}  // namespace

// Plain numbers, since Rows is another type for each target.
void forward_entry(Activation kind, float alpha, const float* x, float* y, std::int64_t stride, std::int64_t rows,
                   std::int64_t columns) {
  forward(kind, alpha, {x, y, stride, rows, columns});
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {
HWY_EXPORT(forward_entry);

void activation_forward_f32(Activation kind, float alpha, const float* x, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(forward_entry)(kind, alpha, x, y, n, 1, n);
}

void activation_rows(ActivationParams activation, void* y, Element element, std::int64_t stride, std::int64_t rows,
                     std::int64_t columns) {
  const auto forward = HWY_DYNAMIC_DISPATCH(forward_entry);
  const auto alpha = static_cast<float>(activation.alpha);
  if (stride == columns) {
    columns *= rows;
    rows = 1;
  }
  if (element == Element::f32) {
    auto* const values = static_cast<float*>(y);
    return forward(activation.kind, alpha, values, values, stride, rows, columns);
  }
  constexpr std::int64_t kBlock = 512;
  float block[kBlock];
  auto* const values = static_cast<std::uint16_t*>(y);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; c += kBlock) {
      const std::int64_t n = std::min(kBlock, columns - c);
      from_bf16(values + r * stride + c, block, n);
      forward(activation.kind, alpha, block, block, n, 1, n);
      to_bf16(block, values + r * stride + c, n);
    }
  }
}

}  // namespace fovea::kernels::simd
#endif
