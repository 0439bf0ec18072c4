// Weights in the order in which the register tiles of planned_gemm.cc read them.
#include <algorithm>

#include "kernels/cpu/simd/planned_gemm.h"

namespace fovea::kernels::simd {
namespace {

/// Vectors of pairs in the last panel; 0 if it is packed like the others.
int paired(std::int64_t columns) {
  if (columns == 0 || !pairs_rows()) return 0;
  return paired_vectors(columns - (panel_count(columns) - 1) * panel_width());
}

std::int64_t pairs_of(std::int64_t k, std::int64_t run) {
  return run == 0 ? 0 : k / run * ((run + 1) / 2) + (k % run + 1) / 2;
}

}  // namespace

std::int64_t planned_floats(std::int64_t k, std::int64_t run, std::int64_t columns) {
  const int vectors = paired(columns);
  if (vectors == 0) return packed_floats(k, columns);
  return (panel_count(columns) - 1) * panel_width() * k + pairs_of(k, run) * vectors * vector_width();
}

void pack_planned(const PackRows& job, std::int64_t run, bool transposed) {
  const std::int64_t panels = panel_count(job.columns);
  const int vectors = job.panel_end == panels ? paired(job.columns) : 0;
  PackRows plain = job;
  if (vectors > 0) --plain.panel_end;
  if (plain.panel_begin < plain.panel_end) transposed ? pack_transposed(plain) : pack_rows(plain);
  if (vectors == 0) return;
  const std::int64_t column = (panels - 1) * panel_width(), half = vector_width() / 2;
  float* to = job.packed + column * job.k;
  const std::int64_t across = transposed ? job.pitch : 1, down = transposed ? 1 : job.pitch;
  for (std::int64_t begin = 0; begin < job.k; begin += run) {
    const std::int64_t end = std::min(job.k, begin + run);
    for (std::int64_t k = begin; k < end; k += 2) {
      for (std::int64_t c = 0; c < vectors * half; ++c, to += 2) {
        const bool inside = column + c < job.columns;
        const float* const from = job.src + k * down + (column + c) * across;
        to[0] = inside ? from[0] : 0.0f;
        to[1] = inside && k + 1 < end ? from[down] : 0.0f;
      }
    }
  }
}

void scale_planned(const float* packed, std::int64_t k, std::int64_t columns, const float* scale,
                   std::int64_t panel_begin, std::int64_t panel_end, float* to) {
  const std::int64_t panels = panel_count(columns);
  const int vectors = paired(columns);
  for (std::int64_t p = panel_begin; p < panel_end; ++p) {
    const std::int64_t begin = p * panel_width() * k;
    const float* from = packed + begin;
    float* out = to + begin;
    if (vectors > 0 && p + 1 == panels) {
      const std::int64_t pairs = vectors * vector_width() / 2;
      for (std::int64_t i = 0; i < k; i += 2) {
        const float even = scale[i], odd = i + 1 < k ? scale[i + 1] : 0.0f;
        for (std::int64_t c = 0; c < pairs; ++c, from += 2, out += 2) {
          out[0] = from[0] * even;
          out[1] = from[1] * odd;
        }
      }
      continue;
    }
    const std::int64_t width = std::min<std::int64_t>(panel_width(), padded_columns(columns) - p * panel_width());
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t c = 0; c < width; ++c) *out++ = *from++ * scale[i];
    }
  }
}

}  // namespace fovea::kernels::simd
