// bf16 in memory, f32 in registers: for each target, without instructions that only some CPUs have.
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

}  // namespace HWY_NAMESPACE
}  // namespace fovea::kernels::simd
HWY_AFTER_NAMESPACE();

#endif
