#include "kernels/cpu/simd/conv2d_window.h"

#include <algorithm>
#include <cstring>

namespace fovea::kernels::simd {

Axis forward_axis(std::int64_t out, std::int64_t k, int stride, int dilation, int pad_before) {
  Axis axis{out, stride, 0, 1, {}};
  for (std::int64_t i = 0; i < k; ++i) axis.taps.push_back({i * dilation - pad_before, i});
  return axis;
}

std::vector<Axis> backward_axes(std::int64_t in, std::int64_t k, int stride, int dilation, int pad_before) {
  std::vector<Axis> phases;
  for (std::int64_t start = 0; start < std::min<std::int64_t>(stride, in); ++start) {
    // dx[start + stride·j] takes w[i]·dy[o] wherever o·stride = start + stride·j + pad − i·dilation.
    Axis axis{(in - start + stride - 1) / stride, 1, start, stride, {}};
    for (std::int64_t i = k - 1; i >= 0; --i) {
      const std::int64_t shift = start + pad_before - i * dilation;
      if (shift % stride == 0) axis.taps.push_back({shift / stride, i});
    }
    phases.push_back(std::move(axis));
  }
  return phases;
}

std::vector<Run> make_runs(const Axis& y, const Axis& x, std::int64_t channels, std::int64_t row_pitch,
                           std::int64_t pixel_pitch) {
  std::vector<Run> runs;
  for (const Tap& ty : y.taps) {
    for (std::size_t i = 0; i < x.taps.size(); ++i) {
      const bool continues = i > 0 && pixel_pitch == channels && x.taps[i].at == x.taps[i - 1].at + 1;
      if (continues) {
        runs.back().length += static_cast<int>(channels);
      } else {
        runs.push_back(
            {(ty.at - y.first()) * row_pitch + (x.taps[i].at - x.first()) * pixel_pitch, static_cast<int>(channels)});
      }
    }
  }
  return runs;
}

void copy_window(const Images& images, std::int64_t image, std::int64_t y0, std::int64_t rows, std::int64_t x0,
                 std::int64_t columns, std::int64_t pitch, float* to) {
  const std::int64_t c = images.channels;
  const auto bytes = [](std::int64_t floats) { return static_cast<std::size_t>(floats) * sizeof(float); };
  const std::int64_t left = std::clamp<std::int64_t>(-x0, 0, columns);
  const std::int64_t right = std::clamp<std::int64_t>(x0 + columns - images.w, 0, columns - left);
  const std::int64_t middle = columns - left - right;
  for (std::int64_t r = 0; r < rows; ++r, to += columns * pitch) {
    const std::int64_t y = y0 + r;
    if (y < 0 || y >= images.h || middle <= 0) {
      std::memset(to, 0, bytes(columns * pitch));
      continue;
    }
    const float* from = images.image(image) + (y * images.w + x0 + left) * images.pitch;
    std::memset(to, 0, bytes(left * pitch));
    float* pixel = to + left * pitch;
    if (pitch == c && images.pitch == c) {
      std::memcpy(pixel, from, bytes(middle * c));
      pixel += middle * c;
    } else {
      for (std::int64_t x = 0; x < middle; ++x, pixel += pitch, from += images.pitch)
        std::memcpy(pixel, from, bytes(c));
    }
    std::memset(pixel, 0, bytes(right * pitch));
  }
}

}  // namespace fovea::kernels::simd
