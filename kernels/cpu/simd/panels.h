// The register tiles under convolution and dense: plain structs, so that only panels.cc is compiled per instruction
// set.
//
// Two products cover everything:
//   multiply_panels:  out[m, n] = finish(start + Σ_k a[m, k]·b[k, n]), a's rows anywhere in memory (a padded image, a
//   matrix),
//                     k along one or more contiguous runs, b packed into column panels;
//   outer_panels:     out[k, n] += Σ_p x[p, k]·d[p, n], the gradient of the weights, d packed into column panels.
//
// A panel is two vectors wide (16 columns on AVX2, 32 on AVX-512, 8 on SSSE3 and NEON), [k][width] contiguous; the last
// panel is one vector wide if the rest fits. A matrix of K rows and N columns is panel after panel: panel p begins at
// p·panel_width()·K.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation.h"

namespace fovea::kernels::simd {

/// Columns of a full panel, and of a vector, on this CPU.
int panel_width();
int vector_width();
/// N rounded up to whole vectors.
std::int64_t padded_columns(std::int64_t n);
/// Floats of a packed K×N matrix.
inline std::int64_t packed_floats(std::int64_t k, std::int64_t n) { return k * padded_columns(n); }
inline std::int64_t panel_count(std::int64_t n) { return (n + panel_width() - 1) / panel_width(); }

/// Packs rows [k0, k0+count) of a k×columns matrix into `packed`, panels [panel_begin, panel_end) only; columns past
/// the last become 0.
struct PackRows {
  const float* src;    ///< row k0
  std::int64_t pitch;  ///< from row to row; transposed: from column to column
  std::int64_t k0, count, k, columns;
  std::int64_t panel_begin, panel_end;
  float* packed;
  float* sums = nullptr;  ///< if given, the columns' sums are added to it: padded_columns(columns) floats
};
void pack_rows(const PackRows&);
/// The same from a matrix whose element of row k0+i and column j is src[j·pitch + i]; no sums.
void pack_transposed(const PackRows&);

/// A contiguous stretch of k: `length` elements from `offset` (in floats) behind a row's beginning.
struct Run {
  std::int64_t offset;
  int length;
};

struct Multiply {
  const float* a;
  const std::int64_t* row_offsets;  ///< row m begins at a + row_offsets[m]
  const std::int64_t* out_offsets;  ///< and goes to out + out_offsets[m]
  int rows;
  const Run* runs;
  int run_count;
  std::int64_t k;       ///< sum of the runs' lengths
  const float* packed;  ///< k × columns
  std::int64_t columns;
  std::int64_t panel_begin, panel_end;
  const float* bias = nullptr;  ///< padded_columns(columns) floats: where the sums start
  float* out;
  bool accumulate = false;  ///< start from out instead
  ActivationParams activation{Activation::none};
};
/// The activations multiply_panels applies itself: those without an exponential.
bool fuses(Activation activation);
void multiply_panels(const Multiply&);

/// Memory that tiles ask for between their products because later work needs it: `step` bytes further each time.
struct Fetch {
  const char* at = nullptr;
  std::int64_t step = 0;
};

struct Outer {
  const float* x;                  ///< position (r, c) has its k-elements from x + r·row_pitch + c·column_pitch
  std::int64_t rows, row_columns;  ///< positions: rows × row_columns
  std::int64_t row_pitch, column_pitch;
  const Run* runs;  ///< k along these
  int run_count;
  const float* packed;  ///< rows·row_columns × columns
  std::int64_t columns;
  std::int64_t panel_begin, panel_end;
  float* out;  ///< [k, out_pitch]
  std::int64_t out_pitch;
  bool accumulate = true;
  Fetch fetch{};  ///< once a position in each of outer_tiles(k) tiles of a run and panel
};
int outer_tiles(std::int64_t k);
void outer_panels(const Outer&);

/// y[j] = act(Σ_k x[k]·w[k·pitch + j] + bias[j]) for `rows` ≤ 4 rows of x at once, columns [begin, end): w is read
/// once, where it lies.
struct ThinMultiply {
  const float* x;
  std::int64_t x_pitch;
  int rows;
  std::int64_t k;
  const float* w;
  std::int64_t w_pitch;
  std::int64_t begin, end;
  const float* bias = nullptr;  ///< may be null
  float* y;
  std::int64_t y_pitch;
  bool accumulate = false;
  ActivationParams activation{Activation::none};
};
constexpr int kThinRows = 4;
void multiply_thin(const ThinMultiply&);

/// The name of the instruction set in use ("AVX2"), for reports.
const char* instruction_set();

}  // namespace fovea::kernels::simd
