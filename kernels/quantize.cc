#include "kernels/quantize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/threads/parallel.h"
#include "kernels/check_internal.h"
#include "kernels/cuda/entry.h"
#include "kernels/problems.h"
#include "kernels/registry.h"

namespace fovea::kernels {
namespace {

constexpr int kLargest = 1 << 20;
constexpr std::int64_t kGrain = 1 << 15;

void check(const char* op, const QuantizeRange& r, const ConstView& x, const ConstView& scale) {
  check_floating(op, {{"x", x}, {"scale", scale}});
  if (r.low > r.zero || r.zero > r.high || r.low == r.high || r.low < -kLargest || r.high > kLargest) {
    throw Error(ErrorKind::usage, op, str("the integers ", r.low, " to ", r.high, " with zero at ", r.zero),
                "zero must be one of them, and they must lie within ±2^20");
  }
  if (scale.numel() != 1 && (x.shape.rank() == 0 || scale.shape != Shape{x.shape.dim(-1)})) {
    throw Error(ErrorKind::shape, op, str("scale has ", scale.shape, ", x ", x.shape),
                "one element, or one for each entry of x's last axis");
  }
}

/// Adding and subtracting 1.5·2^(mantissa bits) rounds to the nearest even integer, in vectors on every CPU.
template <class T>
constexpr T kRounder = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);

template <class T>
T rounded(T scaled, T low, T high) {
  // The order of operands makes NaN the lower bound.
  const T inside = std::min(std::max(low, scaled), high);
  return (inside + kRounder<T>)-kRounder<T>;
}

template <class T>
void forward(const QuantizeRange& r, const ConstView& x, const ConstView& scale, const View& y) {
  const T low = T(r.low - r.zero), high = T(r.high - r.zero);
  const T *in = x.ptr<T>(), *s = scale.ptr<T>();
  T* out = y.ptr<T>();
  if (scale.numel() == 1) {
    parallel_for(x.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
      const T step = s[0];
      for (std::int64_t i = begin; i < end; ++i) out[i] = rounded(in[i] / step, low, high) * step;
    });
    return;
  }
  const std::int64_t channels = scale.numel(), rows = x.numel() / channels;
  parallel_for(rows, std::max<std::int64_t>(1, kGrain / channels), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0, i = row * channels; c < channels; ++c, ++i)
        out[i] = rounded(in[i] / s[c], low, high) * s[c];
    }
  });
}

template <class T>
void backward(const QuantizeRange& r, const ConstView& x, const ConstView& scale, const ConstView& dy,
              const std::optional<View>& dx, const std::optional<View>& dscale) {
  const T low = T(r.low - r.zero), high = T(r.high - r.zero);
  const T *in = x.ptr<T>(), *s = scale.ptr<T>(), *g = dy.ptr<T>();
  T* const out = dx ? dx->ptr<T>() : nullptr;
  const std::int64_t scales = scale.numel();
  const std::int64_t channels = std::max<std::int64_t>(1, x.shape.rank() > 0 ? x.shape.dim(-1) : 1);
  const std::int64_t rows = x.numel() / channels, grain = std::max<std::int64_t>(1, kGrain / channels);
  std::vector<std::vector<double>> sums(static_cast<std::size_t>(parallel_chunk_count(rows, grain)));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end, int chunk) {
    std::vector<double>& sum = sums[static_cast<std::size_t>(chunk)];
    sum.assign(static_cast<std::size_t>(scales), 0.0);
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0, i = row * channels; c < channels; ++c, ++i) {
        const std::int64_t k = scales == 1 ? 0 : c;
        const T scaled = in[i] / s[k], near = rounded(scaled, low, high);
        // Half a step beyond the last integer still rounds to it.
        const bool inside = std::abs(scaled - near) <= T(0.5);
        if (dscale) sum[static_cast<std::size_t>(k)] += static_cast<double>(g[i] * (inside ? near - scaled : near));
        if (out) out[i] = inside ? g[i] : T(0);
      }
    }
  });
  if (!dscale) return;
  T* const ds = dscale->ptr<T>();
  for (std::int64_t k = 0; k < scales; ++k) {
    double total = 0;
    for (const std::vector<double>& sum : sums) total += sum.empty() ? 0 : sum[static_cast<std::size_t>(k)];
    ds[k] = static_cast<T>(total);
  }
}

const char* reference_declines(const FakeQuantizeProblem& p) { return needs_cpu(p.x); }
void reference_forward(const FakeQuantizeProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { forward<decltype(t)>(p.range, p.x, p.scale, *p.y); });
}
void reference_backward(const FakeQuantizeProblem& p) {
  by_scalar(p.x.dtype, [&](auto t) { backward<decltype(t)>(p.range, p.x, p.scale, p.dy, p.dx, p.dscale); });
}

constexpr Implementation<FakeQuantizeProblem> kForward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::fake_quantize_forward),
    {"only", reference_declines, reference_forward},
};
constexpr Implementation<FakeQuantizeProblem> kBackward[] = {
    FOVEA_CUDA_ENTRY("cuda", cuda::declines, cuda::fake_quantize_backward),
    {"only", reference_declines, reference_backward},
};

}  // namespace

void fake_quantize_forward(const QuantizeRange& range, ConstView x, ConstView scale, View y) {
  check("fake_quantize", range, x, scale);
  check_floating("fake_quantize", {{"x", x}, {"y", y}});
  check_shape("fake_quantize", {"y", y}, x.shape);
  if (x.numel() == 0) return;
  dispatch<FakeQuantizeProblem>("fake_quantize_forward", kForward, {Pass::forward, range, x, scale, y, {}, {}, {}});
}

void fake_quantize_backward(const QuantizeRange& range, ConstView x, ConstView scale, ConstView dy,
                            std::optional<View> dx, std::optional<View> dscale) {
  check("fake_quantize", range, x, scale);
  check_floating("fake_quantize", {{"x", x}, {"dy", dy}, {"dx", dx}, {"dscale", dscale}});
  check_shape("fake_quantize", {"dy", dy}, x.shape);
  if (dx) check_shape("fake_quantize", {"dx", *dx}, x.shape);
  if (dscale) check_shape("fake_quantize", {"dscale", *dscale}, scale.shape);
  dispatch<FakeQuantizeProblem>("fake_quantize_backward", kBackward,
                                {Pass::backward, range, x, scale, std::nullopt, dy, dx, dscale});
}

}  // namespace fovea::kernels
