// What convolution and batch norm do to rows when they are trained as one (kernels/conv_norm.h): read normalised, read
// a gradient through the normalisation, statistics of rows that were just made, a gradient behind an activation. Plain
// arrays in f32 or bf16, one thread, rows that fit a cache; only norm_rows.cc is compiled per instruction set.
#pragma once

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cpu/simd/element.h"

namespace fovea::kernels::simd {

/// How channels are read: act((x − mean)·scale + beta). Without mean: x as it is.
struct NormColumns {
  const float *mean = nullptr, *scale = nullptr, *beta = nullptr;
  Activation activation = Activation::none;
};
/// The activations these functions know: none, relu, relu6, hard_swish, silu.
bool normalizes(Activation activation);

/// Where rows go: column c of row r to panel c / width, there to r·stride + c % width. Panels are `panel_stride` apart
/// and filled up with zeros; rows as they were are one panel of width = stride = channels.
struct RowsTo {
  void* data = nullptr;
  Element element = Element::f32;
  std::int64_t stride = 0, width = 0, panel_stride = 0;
};

struct NormalizedRows {
  const void* x = nullptr;
  Element element = Element::f32;
  std::int64_t rows = 0, channels = 0;
  NormColumns norm{};
  const void* residual = nullptr;  ///< added before the activation; rows and type like x, or null
  RowsTo to{};
  std::int64_t stride = 0;  ///< of x and residual from row to row; 0: channels
};
void load_normalized(const NormalizedRows&);

/// a·g + b·(y − mean) + c, the gradient in front of a batch norm; without b: a·g. Without a: g.
struct GradientRows {
  const void *g = nullptr, *y = nullptr;
  Element element = Element::f32;
  std::int64_t rows = 0, channels = 0;
  const float *a = nullptr, *b = nullptr, *mean = nullptr, *c = nullptr;
  RowsTo to{};
};
void load_gradient(const GradientRows&);

/// Results on their way from a cached buffer to memory: copied, and looked at meanwhile. f32 may become bf16. `stream`
/// goes past the caches, where a map is far larger than they are: a store that misses otherwise reads its line first
/// (copying 1.4 times as fast on a Zen 4). flush_streams() before another thread may read it.
struct RowsOut {
  const void* from = nullptr;
  Element element = Element::f32;
  std::int64_t from_stride = 0;
  void* to = nullptr;
  Element to_element = Element::f32;
  std::int64_t to_stride = 0;
  std::int64_t rows = 0, columns = 0;
  bool stream = false;
};
void flush_streams();

/// sum[c] += Σ (y − pivot[c]), square[c] += Σ (y − pivot[c])², in f32 over the rows given (some hundred at most),
/// before a store in bf16 rounds y. Without pivot only the copy. Without `to` only the sums.
struct RowSums {
  RowsOut y;
  const float* pivot = nullptr;
  double *sum = nullptr, *square = nullptr;
};
void sum_rows(const RowSums&);

/// g·act'((x − mean)·scale + beta) on the way (it may stay where it is); sum[c] += Σ of it, product[c] += Σ of it·(x −
/// mean). With `result` the derivative is told from the activation's result instead (relu, relu6). x and result are of
/// the type stored. Without `to`, no activation: only the sums.
struct MaskedRows {
  RowsOut g;
  const void *x = nullptr, *result = nullptr;
  std::int64_t x_stride = 0;
  NormColumns norm{};
  double *sum = nullptr, *product = nullptr;
};
void mask_rows(const MaskedRows&);

}  // namespace fovea::kernels::simd
