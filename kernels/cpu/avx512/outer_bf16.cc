// Gradients of weights on bf16 (vdpbf16ps): the twin of outer_panels (simd/panels.h) whose positions come in pairs, so
// that one instruction does two of them. Tiles of 12 channels × 2 vectors, sums in f32.
#include "kernels/cpu/avx512/bf16.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/dot.h"
#include "kernels/cpu/simd/loops.h"

namespace fovea::kernels::simd {
namespace {

constexpr int kRows = 12;

struct Tile {
  const std::uint32_t *x, *d;
  std::int64_t pairs;
  float* out;
  std::int64_t pitch;
  bool accumulate;
};

template <int MR>
__attribute__((noinline)) void tile(const Tile& t) {
  __m512 sum[MR][2];
  FOVEA_UNROLL(12)
  for (int i = 0; i < MR; ++i) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  const std::uint32_t *x = t.x, *d = t.d;
  FOVEA_UNROLL(2)
  for (std::int64_t p = 0; p < t.pairs; ++p, x += 32, d += 32) {
    const __m512i d0 = _mm512_loadu_si512(d), d1 = _mm512_loadu_si512(d + 16);
    FOVEA_UNROLL(12)
    for (int i = 0; i < MR; ++i) {
      const __m512i both = _mm512_set1_epi32(static_cast<int>(x[i]));
      sum[i][0] = FOVEA_DOT(vdpbf16ps, sum[i][0], both, d0);
      sum[i][1] = FOVEA_DOT(vdpbf16ps, sum[i][1], both, d1);
    }
  }
  float* to = t.out;
  FOVEA_UNROLL(12)
  for (int i = 0; i < MR; ++i, to += t.pitch) {
    FOVEA_UNROLL(2)
    for (int v = 0; v < 2; ++v) {
      const __m512 s = t.accumulate ? _mm512_add_ps(sum[i][v], _mm512_loadu_ps(to + 16 * v)) : sum[i][v];
      _mm512_storeu_ps(to + 16 * v, s);
    }
  }
}

using TileFn = void (*)(const Tile&);
constexpr TileFn kTiles[kRows + 1] = {nullptr, tile<1>, tile<2>, tile<3>,  tile<4>,  tile<5>, tile<6>,
                                      tile<7>, tile<8>, tile<9>, tile<10>, tile<11>, tile<12>};

}  // namespace

void pair_rows_bf16(const std::uint16_t* rows, std::int64_t count, std::uint32_t* pairs) {
  alignas(64) static constexpr std::uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                         8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (std::int64_t r = 0; r < count; r += 2, rows += 64, pairs += 32) {
    const __m512i a = _mm512_loadu_si512(rows);
    const __m512i b = r + 1 < count ? _mm512_loadu_si512(rows + 32) : _mm512_setzero_si512();
    _mm512_storeu_si512(pairs, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(pairs + 16, _mm512_permutex2var_epi16(a, high, b));
  }
}

void outer_pairs_bf16(const std::uint32_t* x, const std::uint32_t* d, std::int64_t pairs, std::int64_t channels,
                      float* out, std::int64_t pitch, bool accumulate) {
  const std::int64_t tiles = (channels + kRows - 1) / kRows;
  Tile t{x, d, pairs, out, pitch, accumulate};
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t size = channels / tiles + (i < channels % tiles ? 1 : 0);
    kTiles[size](t);
    t.x += size;
    t.out += size * pitch;
  }
}

}  // namespace fovea::kernels::simd
#else
namespace fovea::kernels::simd {
void pair_rows_bf16(const std::uint16_t*, std::int64_t, std::uint32_t*) { __builtin_trap(); }  // has_bf16() is false
void outer_pairs_bf16(const std::uint32_t*, const std::uint32_t*, std::int64_t, std::int64_t, float*, std::int64_t,
                      bool) {
  __builtin_trap();
}
}  // namespace fovea::kernels::simd
#endif
