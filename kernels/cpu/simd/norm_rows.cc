// The row passes of norm_rows.h, once per instruction set. Rows are read some at a time, so that a channel's parameters
// are loaded once for all; sums run down two vectors of columns and stay in registers.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/norm_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After foreach_target.h:
#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/simd/bf16-inl.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/cpu/simd/math-inl.h"
#include "kernels/cpu/simd/norm_rows.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

constexpr std::int64_t kLanes = HWY_LANES(float);
using V = hn::Vec<Full>;
using Bf16 = std::uint16_t;
// Maps are bf16 on CPUs with AVX-512 BF16 only (has_bf16()): for the other targets half a megabyte of code.
constexpr bool kBf16 = HWY_TARGET == HWY_AVX3;

template <bool kPart, class T>
HWY_INLINE V load(const T* from, int count) {
  const Full d;
  if constexpr (kPart) return load_first(d, from, count);
  return load_value(d, from);
}

/// Stores a whole vector as T; bf16 in one instruction instead of eight.
HWY_INLINE void keep(V v, float* to) { store_value(v, Full(), to); }
HWY_INLINE void keep(V v, Bf16* to) {
#if HWY_TARGET == HWY_AVX3
  __m256i half;
  asm("vcvtneps2bf16 %1, %0" : "=v"(half) : "v"(v.raw));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
#else
  store_value(v, Full(), to);
#endif
}

HWY_INLINE void keep_past_caches(V v, Bf16* to) {
#if HWY_TARGET == HWY_AVX3
  __m256i half;
  asm("vcvtneps2bf16 %1, %0" : "=v"(half) : "v"(v.raw));
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), half);
#else
  keep(v, to);
#endif
}
// x86's max and min return the second operand if either is NaN: a NaN stays visible, at half of what comparing costs.
struct FastRelu {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, hn::Vec<D> x) const {
    return hn::Max(hn::Zero(d), x);
  }
};
struct FastRelu6 {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, hn::Vec<D> x) const {
    return hn::Min(hn::Set(d, 6.0f), hn::Max(hn::Zero(d), x));
  }
};

struct IdentityGrad {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D, hn::Vec<D>, hn::Vec<D> dy) const {
    return dy;
  }
};

/// Rows that are read together, so that a channel's parameters are loaded once for all: as many as registers allow.
#if HWY_TARGET == HWY_AVX3
constexpr int kTogether = 4;
#else
constexpr int kTogether = 2;
#endif

/// begin(rows, i) sets f on the rows of these numbers; f(whole or part, c, count, v) gives each one's vector at column
/// c. They go where `to` says.
template <class Out, class Begin>
HWY_INLINE void write_rows(RowsTo to, std::int64_t rows, std::int64_t channels, Begin begin) {
  const Full d;
  Out* const base = static_cast<Out*>(to.data);
  const bool padded = to.width != channels;
  for (std::int64_t r = 0; r < rows; r += kTogether) {
    std::int64_t number[kTogether];
    Out* out[kTogether];
    FOVEA_UNROLL(4)
    for (int i = 0; i < kTogether; ++i) {
      number[i] = std::min(r + i, rows - 1);  // what is missing in the end is the last row again
      out[i] = base + number[i] * to.stride;
    }
    const auto f = begin(number);
    V v[kTogether];
    for (std::int64_t p = 0; p < channels; p += to.width) {
      const std::int64_t end = std::min(channels, p + to.width);
      std::int64_t c = p;
      for (; c + kLanes <= end; c += kLanes) {
        f(std::false_type(), c, 0, v);
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) keep(v[i], out[i] + c);
      }
      if (c < end) {
        const int count = static_cast<int>(end - c);
        f(std::true_type(), c, count, v);
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) {
          if (padded) {
            keep(hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(count)), v[i]), out[i] + c);
          } else {
            store_first(v[i], d, out[i] + c, count);
          }
        }
        c += kLanes;
      }
      for (; padded && c < p + to.width; c += kLanes) {
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) keep(hn::Zero(d), out[i] + c);
      }
      FOVEA_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) out[i] += to.panel_stride - to.width;
    }
  }
}

// Jobs by value: what a store through a pointer might change is loaded again after each.
template <class In, class Out, class Act>
void normalized(const NormalizedRows job, Act act) {
  const Full d;
  const NormColumns n = job.norm;
  const std::int64_t pitch = job.stride ? job.stride : job.channels;
  write_rows<Out>(job.to, job.rows, job.channels, [&](const std::int64_t(&rows)[kTogether]) HWY_ATTR {
    struct {
      const In *x, *residual;
    } row[kTogether];
    FOVEA_UNROLL(4)
    for (int i = 0; i < kTogether; ++i) {
      row[i].x = static_cast<const In*>(job.x) + rows[i] * pitch;
      row[i].residual = job.residual ? static_cast<const In*>(job.residual) + rows[i] * pitch : nullptr;
    }
    return [=](auto part, std::int64_t c, int count, V(&v)[kTogether]) HWY_ATTR {
      constexpr bool kPart = decltype(part)::value;
      FOVEA_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) v[i] = load<kPart>(row[i].x + c, count);
      if (n.mean) {
        const V mean = load<kPart>(n.mean + c, count), scale = load<kPart>(n.scale + c, count),
                beta = load<kPart>(n.beta + c, count);
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) v[i] = hn::MulAdd(hn::Sub(v[i], mean), scale, beta);
      }
      if (row[0].residual) {
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) v[i] = hn::Add(v[i], load<kPart>(row[i].residual + c, count));
      }
      FOVEA_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) v[i] = act(d, v[i]);
    };
  });
}

template <class In, class Out>
void normalized_by_kind(const NormalizedRows& job) {
  switch (job.norm.activation) {
    case Activation::relu: return normalized<In, Out>(job, FastRelu());
    case Activation::relu6: return normalized<In, Out>(job, FastRelu6());
    case Activation::hard_swish: return normalized<In, Out>(job, HardSwish());
    case Activation::silu: return normalized<In, Out>(job, Silu());
    default: return normalized<In, Out>(job, Identity());
  }
}

template <class In, class Out>
void gradient(const GradientRows job) {
  write_rows<Out>(job.to, job.rows, job.channels, [&](const std::int64_t(&rows)[kTogether]) HWY_ATTR {
    struct {
      const In *g, *y;
    } row[kTogether];
    FOVEA_UNROLL(4)
    for (int i = 0; i < kTogether; ++i) {
      row[i].g = static_cast<const In*>(job.g) + rows[i] * job.channels;
      row[i].y = job.b ? static_cast<const In*>(job.y) + rows[i] * job.channels : nullptr;
    }
    return [=](auto part, std::int64_t c, int count, V(&v)[kTogether]) HWY_ATTR {
      constexpr bool kPart = decltype(part)::value;
      FOVEA_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) v[i] = load<kPart>(row[i].g + c, count);
      if (!job.a) return;
      const V scale = load<kPart>(job.a + c, count);
      if (!job.b) {
        FOVEA_UNROLL(4)
        for (int i = 0; i < kTogether; ++i) v[i] = hn::Mul(v[i], scale);
        return;
      }
      const V slope = load<kPart>(job.b + c, count), mean = load<kPart>(job.mean + c, count),
              offset = load<kPart>(job.c + c, count);
      FOVEA_UNROLL(4)
      for (int i = 0; i < kTogether; ++i) {
        const V away = hn::Sub(load<kPart>(row[i].y + c, count), mean);
        v[i] = hn::MulAdd(v[i], scale, hn::MulAdd(away, slope, offset));
      }
    };
  });
}

/// f(kPart, vectors of columns, first column, columns of the last vector).
template <class F>
HWY_INLINE void each_strip(std::int64_t columns, F f) {
  std::int64_t c = 0;
  for (; c + 2 * kLanes <= columns; c += 2 * kLanes)
    f(std::false_type(), std::integral_constant<int, 2>(), c, static_cast<int>(kLanes));
  if (c + kLanes <= columns) {
    f(std::false_type(), std::integral_constant<int, 1>(), c, static_cast<int>(kLanes));
    c += kLanes;
  }
  if (c < columns) f(std::true_type(), std::integral_constant<int, 1>(), c, static_cast<int>(columns - c));
}

HWY_INLINE void add_lanes(V v, double* to, int count) {
#if HWY_TARGET != HWY_SCALAR
  if (count == kLanes) {
    const hn::ScalableTag<double> dd;
    const hn::Rebind<float, decltype(dd)> half;
    const auto low = hn::PromoteTo(dd, hn::LowerHalf(half, v)), high = hn::PromoteTo(dd, hn::UpperHalf(half, v));
    hn::StoreU(hn::Add(hn::LoadU(dd, to), low), dd, to);
    hn::StoreU(hn::Add(hn::LoadU(dd, to + kLanes / 2), high), dd, to + kLanes / 2);
    return;
  }
#endif
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, Full(), lanes);
  for (int i = 0; i < count; ++i) to[i] += static_cast<double>(lanes[i]);
}

/// Where a vector of results goes. A streamed one is whole and aligned.
enum class Way { none, store, stream };

/// Something to point at.
template <class Out>
Out* nowhere() {
  static Out none[2 * kLanes];
  return none;
}

template <Way kWay, bool kPart, class Out>
HWY_INLINE void put(V v, Out* to, int count) {
  const Full d;
  if constexpr (kWay == Way::none) {
    return;
  } else if constexpr (kPart) {
    store_first(v, d, to, count);
  } else if constexpr (sizeof(Out) == 4) {
    kWay == Way::stream ? hn::Stream(v, d, to) : hn::StoreU(v, d, to);
  } else {
    kWay == Way::stream ? keep_past_caches(v, to) : keep(v, to);
  }
}

template <class In, class Out, Way kWay>
void sums(const RowSums job) {
  const Full d;
  each_strip(job.y.columns, [&](auto part, auto vectors, std::int64_t c, int count) HWY_ATTR {
    constexpr bool kPart = decltype(part)::value;
    constexpr int kVectors = decltype(vectors)::value;
    // Two rows have sums of their own: an addition takes 3 to 4 cycles.
    V sum[2][kVectors], square[2][kVectors], pivot[kVectors];
    FOVEA_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      pivot[v] = job.pivot ? load<kPart>(job.pivot + c + v * kLanes, count) : hn::Zero(d);
      sum[0][v] = sum[1][v] = square[0][v] = square[1][v] = hn::Zero(d);
    }
    const In* from = static_cast<const In*>(job.y.from) + c;
    Out* to = kWay == Way::none ? nowhere<Out>() : static_cast<Out*>(job.y.to) + c;
    const auto row = [&](int i) FOVEA_INLINE HWY_ATTR {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        const V y = load<kPart>(from + v * kLanes, count);
        put<kWay, kPart>(y, to + v * kLanes, count);
        const V away = hn::Sub(y, pivot[v]);
        sum[i][v] = hn::Add(sum[i][v], away);
        square[i][v] = hn::MulAdd(away, away, square[i][v]);
      }
      from += job.y.from_stride;
      if constexpr (kWay != Way::none) to += job.y.to_stride;
    };
    std::int64_t r = 0;
    for (; r + 2 <= job.y.rows; r += 2) {
      row(0);
      row(1);
    }
    if (r < job.y.rows) row(0);
    if (!job.pivot) return;
    FOVEA_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      add_lanes(hn::Add(sum[0][v], sum[1][v]), job.sum + c + v * kLanes, count);
      add_lanes(hn::Add(square[0][v], square[1][v]), job.square + c + v * kLanes, count);
    }
  });
}

template <class In, class Out, Way kWay, class Grad>
void masked(const MaskedRows job, Grad grad) {
  const Full d;
  each_strip(job.g.columns, [&](auto part, auto vectors, std::int64_t c, int count) HWY_ATTR {
    constexpr bool kPart = decltype(part)::value;
    constexpr int kVectors = decltype(vectors)::value;
    V sum[kVectors], product[kVectors], mean[kVectors], scale[kVectors], beta[kVectors];
    FOVEA_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      sum[v] = product[v] = hn::Zero(d);
      mean[v] = load<kPart>(job.norm.mean + c + v * kLanes, count);
      scale[v] = load<kPart>(job.norm.scale + c + v * kLanes, count);
      beta[v] = load<kPart>(job.norm.beta + c + v * kLanes, count);
    }
    const In* from = static_cast<const In*>(job.g.from) + c;
    Out* to = kWay == Way::none ? nowhere<Out>() : static_cast<Out*>(job.g.to) + c;
    const Out* x = static_cast<const Out*>(job.x) + c;
    const Out* result = job.result ? static_cast<const Out*>(job.result) + c : nullptr;
    FOVEA_UNROLL(2)
    for (std::int64_t r = 0; r < job.g.rows; ++r) {
      FOVEA_UNROLL(2)
      for (int v = 0; v < kVectors; ++v) {
        const V centered = hn::Sub(load<kPart>(x + v * kLanes, count), mean[v]);
        const V at = result ? load<kPart>(result + v * kLanes, count) : hn::MulAdd(centered, scale[v], beta[v]);
        const V g = grad(d, at, load<kPart>(from + v * kLanes, count));
        put<kWay, kPart>(g, to + v * kLanes, count);
        sum[v] = hn::Add(sum[v], g);
        product[v] = hn::MulAdd(g, centered, product[v]);
      }
      from += job.g.from_stride;
      if constexpr (kWay != Way::none) to += job.g.to_stride;
      x += job.x_stride;
      if (result) result += job.x_stride;
    }
    FOVEA_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      add_lanes(sum[v], job.sum + c + v * kLanes, count);
      add_lanes(product[v], job.product + c + v * kLanes, count);
    }
  });
}

template <class In, class Out, Way kWay>
void masked_by_kind(const MaskedRows& job) {
  switch (job.norm.activation) {
    case Activation::relu: return masked<In, Out, kWay>(job, ReluGrad());
    case Activation::relu6: return masked<In, Out, kWay>(job, Relu6Grad());
    case Activation::hard_swish: return masked<In, Out, kWay>(job, HardSwishGrad());
    case Activation::silu: return masked<In, Out, kWay>(job, SiluGrad());
    default: return masked<In, Out, kWay>(job, IdentityGrad());
  }
}

/// Whether rows can be streamed: each strip of them covers whole lines.
bool streams(const RowsOut& rows) {
  const std::int64_t line = 64 / bytes_of(rows.to_element);
  return rows.stream && reinterpret_cast<std::uintptr_t>(rows.to) % 64 == 0 && rows.to_stride % line == 0 &&
         rows.columns % line == 0;
}

}  // namespace

// HWY_EXPORT wants external linkage.
void normalized_rows(const NormalizedRows& job) {
  if constexpr (kBf16) {
    const bool in = job.element == Element::f32, out = job.to.element == Element::f32;
    if (in && !out) return normalized_by_kind<float, Bf16>(job);
    if (!in) return out ? normalized_by_kind<Bf16, float>(job) : normalized_by_kind<Bf16, Bf16>(job);
  }
  normalized_by_kind<float, float>(job);
}
void gradient_rows(const GradientRows& job) {
  if constexpr (kBf16) {
    const bool in = job.element == Element::f32, out = job.to.element == Element::f32;
    if (in && !out) return gradient<float, Bf16>(job);
    if (!in) return out ? gradient<Bf16, float>(job) : gradient<Bf16, Bf16>(job);
  }
  gradient<float, float>(job);
}
void row_sums(const RowSums& job) {
  const bool past = streams(job.y);
  if constexpr (kBf16) {
    const bool in = job.y.element == Element::f32, out = job.y.to_element == Element::f32;
    if (!in && !job.y.to) return sums<Bf16, Bf16, Way::none>(job);
    if (!in) return past ? sums<Bf16, Bf16, Way::stream>(job) : sums<Bf16, Bf16, Way::store>(job);
    if (!out && job.y.to) return past ? sums<float, Bf16, Way::stream>(job) : sums<float, Bf16, Way::store>(job);
  }
  if (!job.y.to) return sums<float, float, Way::none>(job);
  past ? sums<float, float, Way::stream>(job) : sums<float, float, Way::store>(job);
}
void masked_rows(const MaskedRows& job) {
  const bool past = streams(job.g);
  if constexpr (kBf16) {
    const bool in = job.g.element == Element::f32, out = job.g.to_element == Element::f32;
    if (!in && !job.g.to) return masked<Bf16, Bf16, Way::none>(job, IdentityGrad());
    if (!in) return past ? masked_by_kind<Bf16, Bf16, Way::stream>(job) : masked_by_kind<Bf16, Bf16, Way::store>(job);
    if (!out && job.g.to)
      return past ? masked_by_kind<float, Bf16, Way::stream>(job) : masked_by_kind<float, Bf16, Way::store>(job);
  }
  if (!job.g.to) return masked<float, float, Way::none>(job, IdentityGrad());
  past ? masked_by_kind<float, float, Way::stream>(job) : masked_by_kind<float, float, Way::store>(job);
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(normalized_rows);
HWY_EXPORT(gradient_rows);
HWY_EXPORT(row_sums);
HWY_EXPORT(masked_rows);

bool normalizes(Activation activation) {
  switch (activation) {
    case Activation::none:
    case Activation::relu:
    case Activation::relu6:
    case Activation::hard_swish:
    case Activation::silu: return true;
    default: return false;
  }
}
void load_normalized(const NormalizedRows& job) { HWY_DYNAMIC_DISPATCH(normalized_rows)(job); }
void load_gradient(const GradientRows& job) { HWY_DYNAMIC_DISPATCH(gradient_rows)(job); }
void sum_rows(const RowSums& job) { HWY_DYNAMIC_DISPATCH(row_sums)(job); }
void mask_rows(const MaskedRows& job) { HWY_DYNAMIC_DISPATCH(masked_rows)(job); }
void flush_streams() { hwy::FlushStream(); }

}  // namespace fovea::kernels::simd
#endif
