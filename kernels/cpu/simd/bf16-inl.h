// Values in memory as f32 or bf16, f32 in registers, whole vectors and the first few lanes: for each target, without
// instructions that only some CPUs have.
#if defined(FOVEA_KERNELS_CPU_SIMD_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_CPU_SIMD_BF16_INL_H_
#undef FOVEA_KERNELS_CPU_SIMD_BF16_INL_H_
#else
#define FOVEA_KERNELS_CPU_SIMD_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace fovea::kernels::simd {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load_value(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_value(D d, const std::uint16_t* from) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<std::uint16_t, D> dh;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, from))));
}

template <class D>
HWY_INLINE void store_value(hn::Vec<D> v, D d, float* to) {
  hn::StoreU(v, d, to);
}
/// Rounds to nearest even; a NaN stays one.
template <class D>
HWY_INLINE void store_value(hn::Vec<D> v, D, std::uint16_t* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint16_t, D> dh;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu))));
  const auto nan = hn::Set(du, 0x7fc0u);
  rounded = hn::IfThenElse(hn::RebindMask(du, hn::Eq(v, v)), rounded, nan);
  hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, rounded)), dh, to);
}

/// Loads the first `count` values; the others are zero. Stores only those. On AVX-512 masks are free.
template <class T, class O>
HWY_INLINE hn::Vec<T> load_first(T d, const O* from, int count) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (sizeof(O) == 4) {
    return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, from);
  } else {
    const hn::RebindToUnsigned<T> du;
    const hn::Rebind<std::uint16_t, T> dh;
    const auto half = hn::MaskedLoad(hn::FirstN(dh, static_cast<std::size_t>(count)), dh, from);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, half)));
  }
#endif
  HWY_ALIGN O edge[HWY_LANES(float)] = {};
  std::memcpy(edge, from, static_cast<std::size_t>(count) * sizeof(O));
  return load_value(d, edge);
}
template <class T, class O>
HWY_INLINE void store_first(hn::Vec<T> v, T d, O* to, int count) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (sizeof(O) == 4) {
    hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, to);
    return;
  }
#endif
  HWY_ALIGN O edge[HWY_LANES(float)];
  store_value(v, d, edge);
#if HWY_TARGET == HWY_AVX3
  if constexpr (sizeof(O) == 2) {
    const hn::Rebind<std::uint16_t, T> dh;
    hn::BlendedStore(hn::Load(dh, edge), hn::FirstN(dh, static_cast<std::size_t>(count)), dh, to);
    return;
  }
#endif
  std::memcpy(to, edge, static_cast<std::size_t>(count) * sizeof(O));
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#endif
