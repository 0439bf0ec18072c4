// The register tile of compiled inference: rows at one distance from each other times packed columns, with everything
// that follows a convolution (bias, residual, clamp) done before the result leaves the registers. Plain data, so that
// only planned_gemm.cc is compiled per instruction set.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/simd/element.h"
#include "kernels/cpu/simd/panels.h"

namespace fovea::kernels::simd {

/// An activation that is done before a sum is rounded to u8, as pieces of polynomials: for a sum s in steps of
/// in_scale, the result in its own steps is (square·s + linear)·s + constant of piece number s·piece_scale + kPieces/2.
/// Pieces are half a unit long, so that kinks of activations lie between two, and reach to ±8; beyond, the outermost
/// are straight.
struct RoundedActivation {
  static constexpr int kPieces = 32;
  float piece_scale = 0;  ///< 0: there is nothing to do
  float constant[kPieces] = {}, linear[kPieces] = {}, square[kPieces] = {};
};
/// For results in steps of 1/inverse_scale from `zero` on. Hard forms exact, SiLU to 0.0002, tanh to 0.0015.
RoundedActivation rounded_activation(ActivationParams activation, float in_scale, float inverse_scale, float zero);

/// c[m, n] = clamp(bias[n] + residual[m, n] + Σ_k a[m, k]·b[k, n], low, high) for n in [32·panel_begin, 32·panel_end)
/// (on AVX-512; panel_width() in general). NaN passes the clamp.
///
/// a in u8: c = clamp(float(Σ_k a·b)·scale[n] + bias[n] + residual[m, n]·residual_scale, low, high), each a fused
/// multiply-add; c in u8 is rounded to nearest even and saturates. Scales and zero points are folded into these.
struct PlannedGemm {
  Element in = Element::f32, out = Element::f32;  ///< of a; of c and residual
  const void* a = nullptr;
  std::int64_t a_stride = 0;  ///< elements from row to row
  std::int64_t rows = 0;
  const Run* runs = nullptr;  ///< k along these, from a row's beginning
  int run_count = 0;
  std::int64_t k = 0;            ///< sum of the runs' lengths
  const void* packed = nullptr;  ///< k × columns in panels: pack_planned, pack_bf16, pack_int8
  std::int64_t columns = 0;
  std::int64_t panel_begin = 0, panel_end = 0;
  const float* bias = nullptr;     ///< padded_columns(columns) floats
  const float* scale = nullptr;    ///< the same, for a in u8
  const void* residual = nullptr;  ///< rows like c's, or null
  std::int64_t residual_stride = 0;
  float residual_scale = 1;  ///< not 1 for a in u8 only
  void* c = nullptr;
  std::int64_t c_stride = 0;
  bool clamp = false;
  float low = 0, high = 0;
  /// Asked for instead of weights further on, asks_per_row() times for each k in every tile; not where rows are `thin`.
  Fetch fetch{};
  /// f32 without a fetch: while a panel is multiplied the next one is asked for, up to this one. For weights that come
  /// from beyond L2; the first tile of a panel would wait for them and the others leave memory idle.
  std::int64_t ask_end = 0;
  /// There are at most three rows, also before they were cut for threads or blocks: sums of four parts each. They add
  /// up in another order, so this must not depend on a cut.
  bool thin = false;
  /// f32: lines of c are asked for while their tile is multiplied. For maps of which another core has written or read
  /// the same memory before: stores wait for a line after the other then.
  bool ask_results = false;
  /// What a clamp cannot express, done on f32 or bf16 results that are still in L1.
  ActivationParams after{Activation::none};
  const RoundedActivation* rounded = nullptr;  ///< before c in u8 is rounded, instead of the clamp; or null
};
/// With bf16 operands: sums in f32, on CPUs with AVX-512 BF16 (see has_bf16()); runs of even length. With u8: sums in
/// i32 where has_int8(); runs are multiples of four, of which the last may reach past a's row where b is zero.
void planned_gemm(const PlannedGemm&);

/// How often a tile asks for memory at each row of b: as many lines as a row of f32 has.
constexpr std::int64_t asks_per_row(std::int64_t columns) { return (columns + 15) / 16; }
/// What asks for panel p + 1 while `tiles` tiles multiply panel p; nothing where ask_end does not reach so far.
Fetch next_panel(const PlannedGemm&, std::int64_t p, std::int64_t tiles);
/// Bytes by which a tile moves such a fetch on.
std::int64_t tile_fetch(const PlannedGemm&, const Fetch&);

/// Rows of a full tile on this CPU: work is best cut at multiples of it.
int planned_tile_rows();
/// Tiles that so many rows are multiplied in.
std::int64_t planned_tiles(std::int64_t rows);

/// Packs a k×columns matrix in f32, as pack_rows and pack_transposed do from row k0 = 0 to the last, but on AVX-512 a
/// last panel of which half a vector or less would be left over ([16j + 1, 16j + 8] columns) by pairs of rows: of
/// columns 0 to 7 rows 0 and 1 side by side, then of columns 8 to 15, …, then of rows 2 and 3. Pairs lie within runs of
/// `run` rows each (the last one may be shorter); zeros fill up an odd one.
void pack_planned(const PackRows&, std::int64_t run, bool transposed = false);
/// Panels [panel_begin, panel_end) of such a matrix, of one run, with row i times scale[i]; to begins where packed
/// does.
void scale_planned(const float* packed, std::int64_t k, std::int64_t columns, const float* scale,
                   std::int64_t panel_begin, std::int64_t panel_end, float* to);
/// Floats that this takes.
std::int64_t planned_floats(std::int64_t k, std::int64_t run, std::int64_t columns);
/// True where panels are packed so (AVX-512).
bool pairs_rows();
/// Vectors of eight columns in such a panel; 0 of any other number of columns.
constexpr int paired_vectors(std::int64_t columns) { return columns <= 8 ? 1 : columns > 16 && columns <= 24 ? 3 : 0; }

/// True where a unit does 512 bits in two halves (AMD Zen 4), so that half as many sums keep it busy; the reorder
/// buffer (320 ops, 512 on Intel's cores of the time) then ends before a full tile's sums are stored.
bool halves_vectors();

/// True where products of bf16 are computed: AVX-512 BF16.
bool has_bf16();
/// True where they are also faster than those of f32, which is measured once: on Intel's cores since Sapphire Rapids
/// vdpbf16ps does half the multiply-adds of f32's (87 beside 179 GFLOP/s; bf16 is AMX's there), on AMD's Zen 4 twice
/// as many. Maps in bf16 are multiplied in f32 where this is false.
bool bf16_products_pay();
/// For tests: what bf16_products_pay() says meanwhile, where has_bf16() is true.
class PretendBf16ProductsPay {
 public:
  explicit PretendBf16ProductsPay(bool pay);
  ~PretendBf16ProductsPay();
  PretendBf16ProductsPay(const PretendBf16ProductsPay&) = delete;

 private:
  int outer_;
};
/// Packs a k×n matrix (row-major f32, k even) for bf16 operands: panels of 32 columns, pairs of rows side by side. The
/// last panel is 16 wide if the rest fits. packed_floats(k, n) halves.
void pack_bf16(const float* b, std::int64_t k, std::int64_t n, std::uint16_t* packed);

/// True where products of u8 and i8 are computed: AVX-512 VNNI.
bool has_int8();
/// Packs a k×n matrix (row-major, k a multiple of 4) for u8 operands: as pack_bf16, with four rows side by side.
void pack_int8(const std::int8_t* b, std::int64_t k, std::int64_t n, std::int8_t* packed);

/// to = clamp(round(from / scale) + zero, 0, 255), to nearest even; a NaN becomes 0. inverse_scale = 1 / scale.
void to_u8(const float* from, std::uint8_t* to, std::int64_t n, float inverse_scale, int zero);
/// to = scale · (from − zero).
void from_u8(const std::uint8_t* from, float* to, std::int64_t n, float scale, int zero);

/// y[c] = (Σ over pixels of x[·, c])·scale + bias for x in u8 or bf16; y in the same type, or f32.
void average_pixels(const void* x, Element in, std::int64_t pixels, std::int64_t channels, float scale, float bias,
                    void* y, Element out);

/// y = round((x − zero)·gate[c]·scale + bias), saturating, to nearest even: so many pixels of so many channels in u8.
void gate_pixels(const std::uint8_t* x, const float* gate, std::int64_t pixels, std::int64_t channels, float scale,
                 float zero, float bias, std::uint8_t* y);

/// Conversions of n values; bf16 rounds to nearest even.
void to_bf16(const float* from, std::uint16_t* to, std::int64_t n);
void from_bf16(const std::uint16_t* from, float* to, std::int64_t n);

}  // namespace fovea::kernels::simd
