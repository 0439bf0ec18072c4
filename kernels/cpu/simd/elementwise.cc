// Binary operations with broadcasting, affine maps and dropout's application: one pass.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd/elementwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/simd/columns-inl.h"
#include "kernels/cpu/simd/elementwise_raw.h"

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace {

struct AddOp {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct SubtractOp {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Sub(a, b);
  }
};
struct SubtractFromOp {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Sub(b, a);
  }
};
struct MultiplyOp {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Mul(a, b);
  }
};

template <class Op>
HWY_INLINE void same_shape(const float* a, const float* b, float* y, std::int64_t n, Op op) {
  each_vector(
      n, [&](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(op(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i); });
}
template <class Op>
HWY_INLINE void with_row(const float* a, const float* b, std::int64_t period, float* y, std::int64_t n, Op op) {
  each_row(n, period, [&](auto d, std::int64_t i, std::int64_t c) HWY_ATTR {
    hn::StoreU(op(hn::LoadU(d, a + i), hn::LoadU(d, b + c)), d, y + i);
  });
}

void binary(Binary kind, const float* a, const float* b, float* y, std::int64_t n) {
  switch (kind) {
    case Binary::add: return same_shape(a, b, y, n, AddOp());
    case Binary::subtract: return same_shape(a, b, y, n, SubtractOp());
    case Binary::multiply: return same_shape(a, b, y, n, MultiplyOp());
  }
}

void binary_row(Binary kind, bool swapped, const float* a, const float* b, std::int64_t period, float* y,
                std::int64_t n) {
  switch (kind) {
    case Binary::add: return with_row(a, b, period, y, n, AddOp());
    case Binary::subtract:
      return swapped ? with_row(a, b, period, y, n, SubtractFromOp()) : with_row(a, b, period, y, n, SubtractOp());
    case Binary::multiply: return with_row(a, b, period, y, n, MultiplyOp());
  }
}

void affine(float scale, float shift, const float* x, float* y, std::int64_t n) {
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::Set(d, scale), hn::Set(d, shift)), d, y + i);
  });
}

void dropout(const std::uint32_t* bits, std::uint32_t threshold, float scale, const float* x, float* y,
             std::uint8_t* mask, std::int64_t n) {
  // Flipping the top bit makes the signed comparison, which every target has, an unsigned one.
  const auto limit = static_cast<std::int32_t>(threshold ^ 0x80000000u);
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const hn::Rebind<std::int32_t, decltype(d)> di;
    const hn::Rebind<std::uint8_t, decltype(d)> du;
    const auto drawn = hn::Xor(hn::LoadU(di, reinterpret_cast<const std::int32_t*>(bits) + i), hn::Set(di, INT32_MIN));
    const auto dropped = hn::Lt(drawn, hn::Set(di, limit));
    hn::StoreU(hn::IfThenZeroElse(hn::RebindMask(d, dropped), hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale))), d,
               y + i);
    const auto one = hn::IfThenZeroElse(dropped, hn::Set(di, 1));
    hn::StoreU(hn::DemoteTo(du, one), du, mask + i);
  });
}

void dropout_backward(const std::uint8_t* mask, float scale, const float* dy, float* dx, std::int64_t n) {
  each_vector(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const hn::Rebind<std::int32_t, decltype(d)> di;
    const hn::Rebind<std::uint8_t, decltype(d)> du;
    const auto kept = hn::Ne(hn::PromoteTo(di, hn::LoadU(du, mask + i)), hn::Zero(di));
    hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, kept), hn::Mul(hn::LoadU(d, dy + i), hn::Set(d, scale))), d,
               dx + i);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea::kernels::simd {
HWY_EXPORT(binary);
HWY_EXPORT(binary_row);
HWY_EXPORT(affine);
HWY_EXPORT(dropout);
HWY_EXPORT(dropout_backward);

void binary_f32(Binary kind, const float* a, const float* b, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(binary)(kind, a, b, y, n);
}
void binary_row_f32(Binary kind, bool swapped, const float* a, const float* b, std::int64_t period, float* y,
                    std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(binary_row)(kind, swapped, a, b, period, y, n);
}
void affine_f32(float scale, float shift, const float* x, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(affine)(scale, shift, x, y, n);
}
void dropout_f32(const std::uint32_t* bits, std::uint32_t threshold, float scale, const float* x, float* y,
                 std::uint8_t* mask, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(dropout)(bits, threshold, scale, x, y, mask, n);
}
void dropout_backward_f32(const std::uint8_t* mask, float scale, const float* dy, float* dx, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(dropout_backward)(mask, scale, dy, dx, n);
}

}  // namespace fovea::kernels::simd
#endif
