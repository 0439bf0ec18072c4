// One pixel of a changed picture, for the CPU and for GPUs: integers and single roundings, so that both give the bits
// of image/color.cc and augment/warp.cc (whose loops over whole pictures look up what this computes).
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/pictures.h"

#ifdef __CUDACC__
#define FOVEA_ANYWHERE __host__ __device__ __forceinline__
#else
#define FOVEA_ANYWHERE inline
#endif

namespace fovea::kernels::reference {

struct PictureView {
  const std::uint8_t* pixels;
  std::int64_t height, width, channels;
  FOVEA_ANYWHERE const std::uint8_t* at(std::int64_t y, std::int64_t x) const {
    return pixels + (y * width + x) * channels;
  }
};

/// Pillow's integer luma.
FOVEA_ANYWHERE std::uint8_t luma(const std::uint8_t* p, std::int64_t channels) {
  return channels == 1 ? p[0]
                       : static_cast<std::uint8_t>((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

/// Pillow's blend of two bytes.
FOVEA_ANYWHERE std::uint8_t blend(std::uint8_t degenerate, std::uint8_t value, float factor) {
  const float v =
      static_cast<float>(degenerate) + factor * (static_cast<float>(value) - static_cast<float>(degenerate));
  return v <= 0.0f ? 0 : v >= 255.0f ? 255 : static_cast<std::uint8_t>(v);
}

/// To HSV and back as Pillow does it, with float and double mixed as there.
FOVEA_ANYWHERE void turn_hue(std::uint8_t turn, const std::uint8_t* rgb, std::uint8_t* out) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
  const auto top = static_cast<std::uint8_t>(most);
  out[0] = out[1] = out[2] = top;
  if (most == least) return;
  const float range = static_cast<float>(most - least);
  const float rc = static_cast<float>(most - r) / range, gc = static_cast<float>(most - g) / range,
              bc = static_cast<float>(most - b) / range;
  const float around = r == most   ? bc - gc
                       : g == most ? static_cast<float>(2.0 + rc - bc)
                                   : static_cast<float>(4.0 + gc - rc);
  double whole = around / 6.0 + 1.0;  // 5/6 to 11/6
  whole = whole >= 1.0 ? whole - 1.0 : whole;
  const int h = static_cast<int>(static_cast<float>(whole) * 255.0);
  const int s = static_cast<int>(range / static_cast<float>(most) * 255.0);
  if (s == 0) return;
  const int turned = (h + turn) & 255;
  const double place = static_cast<float>(turned) * 6.0 / 255.0;
  const int sector = static_cast<int>(place);
  const float f = static_cast<float>(place - static_cast<float>(sector)), fs = static_cast<float>(s / 255.0),
              v = static_cast<float>(most);
  const auto level = [](double x) { return static_cast<std::uint8_t>(static_cast<int>(x + 0.5)); };
  const std::uint8_t p = level(v * (1.0 - fs)), q = level(v * (1.0 - fs * f)), t = level(v * (1.0 - fs * (1.0 - f)));
  switch (sector % 6) {
    case 0: out[1] = t, out[2] = p; break;
    case 1: out[0] = q, out[2] = p; break;
    case 2: out[0] = p, out[2] = t; break;
    case 3: out[0] = p, out[1] = q; break;
    case 4: out[0] = t, out[1] = p; break;
    default: out[1] = p, out[2] = q;
  }
}

/// Where index i of [0, n) is looked up; inside everywhere for a constant border, which is answered before.
FOVEA_ANYWHERE std::int64_t inside(PixelBorder border, std::int64_t i, std::int64_t n) {
  if (i >= 0 && i < n) return i;
  if (border != PixelBorder::reflect) return i < 0 ? 0 : n - 1;
  i %= 2 * n;
  if (i < 0) i += 2 * n;
  return i < n ? i : 2 * n - 1 - i;
}

/// augment/warp.cc's positions: 32 bits of fraction along a row, used with 12.
FOVEA_ANYWHERE void warped_pixel(const PixelStep& s, const PictureView& in, std::int64_t y, std::int64_t x,
                                 std::uint8_t* out) {
  constexpr int kCoarse = 12;
  constexpr std::int64_t kOne = std::int64_t{1} << kCoarse;
  const double* const m = s.inverse;
  const double row = static_cast<double>(y) + 0.5;
  const auto fine = [](double v) { return static_cast<std::int64_t>(std::llround(v * 4294967296.0)); };
  const auto coarse = [](std::int64_t v) { return (v + (std::int64_t{1} << 19)) >> 20; };
  std::int64_t px = coarse(fine(m[0] * 0.5 + m[1] * row + m[2]) + x * fine(m[0])),
               py = coarse(fine(m[3] * 0.5 + m[4] * row + m[5]) + x * fine(m[3]));
  if (s.border == PixelBorder::constant &&
      (px < 0 || py < 0 || px >= in.width << kCoarse || py >= in.height << kCoarse)) {
    for (int c = 0; c < in.channels; ++c) out[c] = s.fill[c];
    return;
  }
  if (!s.bilinear) {
    const std::uint8_t* const from =
        in.at(inside(s.border, py >> kCoarse, in.height), inside(s.border, px >> kCoarse, in.width));
    for (int c = 0; c < in.channels; ++c) out[c] = from[c];
    return;
  }
  px -= kOne / 2;
  py -= kOne / 2;
  const std::int64_t left = inside(s.border, px >> kCoarse, in.width),
                     right = inside(s.border, (px >> kCoarse) + 1, in.width),
                     top = inside(s.border, py >> kCoarse, in.height),
                     bottom = inside(s.border, (py >> kCoarse) + 1, in.height);
  const auto fx = static_cast<std::uint32_t>(px & (kOne - 1)), fy = static_cast<std::uint32_t>(py & (kOne - 1));
  const std::uint32_t gx = static_cast<std::uint32_t>(kOne) - fx, gy = static_cast<std::uint32_t>(kOne) - fy;
  for (int c = 0; c < in.channels; ++c) {
    const std::uint32_t upper = in.at(top, left)[c] * gx + in.at(top, right)[c] * fx,
                        lower = in.at(bottom, left)[c] * gx + in.at(bottom, right)[c] * fx;
    out[c] = static_cast<std::uint8_t>((upper * gy + lower * fy + (1u << (2 * kCoarse - 1))) >> (2 * kCoarse));
  }
}

/// Whether a step needs the sums over its picture.
FOVEA_ANYWHERE bool needs_sums(const PixelStep& s) {
  return s.op == PixelOp::contrast || (s.op == PixelOp::erase && s.mean);
}
/// The terms of one pixel: luma, then each channel.
FOVEA_ANYWHERE void add_terms(const std::uint8_t* p, std::int64_t channels, double (&terms)[4]) {
  terms[0] = luma(p, channels);
  for (int c = 0; c < 3; ++c) terms[c + 1] = c < channels ? p[c] : 0;
}

/// Pixel (y, x) of the changed picture. @param sums of add_terms over the picture, where needs_sums()
FOVEA_ANYWHERE void changed_pixel(const PixelStep& s, const PictureView& in, const double* sums, std::int64_t y,
                                  std::int64_t x, std::uint8_t* out) {
  const std::int64_t count = in.height * in.width;
  const std::uint8_t* from = in.at(y, x);
  switch (s.op) {
    case PixelOp::none: break;
    case PixelOp::flip_x: from = in.at(y, in.width - 1 - x); break;
    case PixelOp::flip_y: from = in.at(in.height - 1 - y, x); break;
    case PixelOp::warp: return warped_pixel(s, in, y, x, out);
    case PixelOp::shift: {
      const std::int64_t column = x + s.box[0], row = y + s.box[1];
      const bool outside = column < 0 || column >= in.width || row < 0 || row >= in.height;
      from = outside && s.border == PixelBorder::constant
                 ? s.fill
                 : in.at(inside(s.border, row, in.height), inside(s.border, column, in.width));
      break;
    }
    case PixelOp::brightness:
      for (int c = 0; c < in.channels; ++c) out[c] = blend(0, from[c], s.factor);
      return;
    case PixelOp::contrast: {
      const auto mean = static_cast<std::uint8_t>(sums[0] / static_cast<double>(count) + 0.5);
      for (int c = 0; c < in.channels; ++c) out[c] = blend(mean, from[c], s.factor);
      return;
    }
    case PixelOp::saturation: {
      const std::uint8_t grey = luma(from, in.channels);
      for (int c = 0; c < in.channels; ++c) out[c] = in.channels == 1 ? from[c] : blend(grey, from[c], s.factor);
      return;
    }
    case PixelOp::hue:
      if (in.channels == 3) return turn_hue(s.turn, from, out);
      break;
    case PixelOp::erase:
      if (x < s.box[0] || x >= s.box[0] + s.box[2] || y < s.box[1] || y >= s.box[1] + s.box[3]) break;
      for (int c = 0; c < in.channels; ++c) {
        out[c] = s.mean ? static_cast<std::uint8_t>((static_cast<std::int64_t>(sums[c + 1]) + count / 2) / count)
                        : s.fill[c];
      }
      return;
  }
  for (int c = 0; c < in.channels; ++c) out[c] = from[c];
}

}  // namespace fovea::kernels::reference
