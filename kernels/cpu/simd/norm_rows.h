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

/// sum[c] += Σ (y − pivot[c]), square[c] += Σ (y − pivot[c])², in f32 over the rows given (some hundred at most).
struct RowSums {
  const void* y = nullptr;
  Element element = Element::f32;
  std::int64_t rows = 0, columns = 0, stride = 0;
  const float* pivot = nullptr;
  double *sum = nullptr, *square = nullptr;
};
void sum_rows(const RowSums&);

/// g = g·act'((x − mean)·scale + beta) in place (not written where there is no activation); sum[c] += Σ g, product[c]
/// += Σ g·(x − mean), as above. With `result` the derivative is told from the activation's result instead (relu,
/// relu6).
struct MaskedRows {
  void* g = nullptr;
  const void *x = nullptr, *result = nullptr;  ///< rows and type like g
  Element element = Element::f32;
  std::int64_t rows = 0, columns = 0, stride = 0, x_stride = 0;
  NormColumns norm{};
  double *sum = nullptr, *product = nullptr;
};
void mask_rows(const MaskedRows&);

}  // namespace fovea::kernels::simd
