// Affine resampling in fixed point.
#include "augment/warp.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace fovea {

std::string_view to_string(Border border) {
  switch (border) {
    case Border::constant: return "constant";
    case Border::edge: return "edge";
    case Border::reflect: return "reflect";
  }
  return "?";
}

Affine Affine::after(const Affine& inner) const {
  return {a * inner.a + b * inner.d, a * inner.b + b * inner.e, a * inner.c + b * inner.f + c,
          d * inner.a + e * inner.d, d * inner.b + e * inner.e, d * inner.c + e * inner.f + f};
}

Affine inverse_affine(double center_x, double center_y, double angle, double translate_x, double translate_y,
                      double scale, double x_shear, double y_shear) {
  constexpr double kRadians = 3.14159265358979323846 / 180;
  const double rot = angle * kRadians, sx = x_shear * kRadians, sy = y_shear * kRadians;
  const double a = std::cos(rot - sy) / std::cos(sy);
  const double b = -std::cos(rot - sy) * std::tan(sx) / std::cos(sy) - std::sin(rot);
  const double c = std::sin(rot - sy) / std::cos(sy);
  const double d = -std::sin(rot - sy) * std::tan(sx) / std::cos(sy) + std::cos(rot);
  Affine m{d / scale, -b / scale, 0, -c / scale, a / scale, 0};
  m.c = m.a * (-center_x - translate_x) + m.b * (-center_y - translate_y) + center_x;
  m.f = m.d * (-center_x - translate_x) + m.e * (-center_y - translate_y) + center_y;
  return m;
}

namespace {

// Positions along a row are kept with 32 fraction bits and used with 12: after 65 536 pixels the accumulated rounding
// is still below 2^-17, and snapping to 1/4096 makes quarter turns and whole-pixel moves exact. Two 12-bit weights
// times 8 bits fit 32.
constexpr int kFine = 32, kCoarse = 12;
constexpr std::int64_t kOne = std::int64_t{1} << kCoarse, kMask = kOne - 1;

std::int64_t fine(double v) { return std::llround(std::ldexp(v, kFine)); }
std::int64_t coarse(std::int64_t v) { return (v + (std::int64_t{1} << (kFine - kCoarse - 1))) >> (kFine - kCoarse); }

std::int64_t reflect(std::int64_t i, std::int64_t n) {
  const std::int64_t period = 2 * n;
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - 1 - i;
}

template <int kChannels, bool kBilinear, Border kBorder>
void warp_rows(const image::Image& in, const Affine& m, const std::array<std::uint8_t, 3>& fill, image::Image& out) {
  const std::int64_t w = in.width, h = in.height;
  const std::int64_t dx = fine(m.a), dy = fine(m.d);
  const std::uint8_t* pixels = in.pixels.data();
  std::uint8_t* to = out.pixels.data();
  const auto resolve = [](std::int64_t i, std::int64_t n) {
    if constexpr (kBorder == Border::reflect) return i >= 0 && i < n ? i : reflect(i, n);
    return std::clamp<std::int64_t>(i, 0, n - 1);
  };
  for (int y = 0; y < out.height; ++y) {
    std::int64_t x_fine = fine(m.a * 0.5 + m.b * (y + 0.5) + m.c), y_fine = fine(m.d * 0.5 + m.e * (y + 0.5) + m.f);
    for (int x = 0; x < out.width; ++x, x_fine += dx, y_fine += dy, to += kChannels) {
      std::int64_t px = coarse(x_fine), py = coarse(y_fine);
      if constexpr (kBorder == Border::constant) {
        if (px < 0 || py < 0 || px >= w << kCoarse || py >= h << kCoarse) {
          for (int c = 0; c < kChannels; ++c) to[c] = fill[static_cast<std::size_t>(c)];
          continue;
        }
      }
      if constexpr (!kBilinear) {
        const std::uint8_t* from = pixels + (resolve(py >> kCoarse, h) * w + resolve(px >> kCoarse, w)) * kChannels;
        for (int c = 0; c < kChannels; ++c) to[c] = from[c];
      } else {
        px -= kOne / 2;
        py -= kOne / 2;
        const std::int64_t x0 = px >> kCoarse, y0 = py >> kCoarse;
        const auto fx = static_cast<std::uint32_t>(px & kMask), fy = static_cast<std::uint32_t>(py & kMask);
        const std::int64_t left = resolve(x0, w) * kChannels, right = resolve(x0 + 1, w) * kChannels;
        const std::uint8_t* top = pixels + resolve(y0, h) * w * kChannels;
        const std::uint8_t* bottom = pixels + resolve(y0 + 1, h) * w * kChannels;
        const std::uint32_t gx = static_cast<std::uint32_t>(kOne) - fx, gy = static_cast<std::uint32_t>(kOne) - fy;
        for (int c = 0; c < kChannels; ++c) {
          const std::uint32_t upper = top[left + c] * gx + top[right + c] * fx;
          const std::uint32_t lower = bottom[left + c] * gx + bottom[right + c] * fx;
          to[c] = static_cast<std::uint8_t>((upper * gy + lower * fy + (1u << (2 * kCoarse - 1))) >> (2 * kCoarse));
        }
      }
    }
  }
}

template <int kChannels, bool kBilinear>
void warp_border(const image::Image& in, const Affine& m, const WarpOptions& options, image::Image& out) {
  switch (options.border) {
    case Border::constant: return warp_rows<kChannels, kBilinear, Border::constant>(in, m, options.fill, out);
    case Border::edge: return warp_rows<kChannels, kBilinear, Border::edge>(in, m, options.fill, out);
    case Border::reflect: return warp_rows<kChannels, kBilinear, Border::reflect>(in, m, options.fill, out);
  }
}

}  // namespace

image::Image warp_affine(const image::Image& picture, const Affine& inverse, const WarpOptions& options) {
  image::check(picture, "warp_affine");
  for (const double v : {inverse.a, inverse.b, inverse.d, inverse.e}) {
    if (!(std::abs(v) <= 1e4)) throw Error(ErrorKind::usage, "warp_affine", str("coefficient ", v, " is beyond 10000"));
  }
  for (const double v : {inverse.c, inverse.f}) {
    if (!(std::abs(v) <= 1e8)) throw Error(ErrorKind::usage, "warp_affine", str("offset ", v, " is beyond 10^8"));
  }
  // Positions must stay below 2^31 pixels: 1e4 times the largest side, plus the offset.
  if (picture.width > 50000 || picture.height > 50000) {
    throw Error(ErrorKind::memory, "warp_affine",
                str("a picture of ", picture.width, "x", picture.height, " has a side beyond 50000"));
  }
  if (picture.empty()) return picture;
  image::Image out;
  out.width = picture.width;
  out.height = picture.height;
  out.channels = picture.channels;
  out.pixels.resize(picture.pixels.size());
  if (picture.channels == 1) {
    options.bilinear ? warp_border<1, true>(picture, inverse, options, out)
                     : warp_border<1, false>(picture, inverse, options, out);
  } else {
    options.bilinear ? warp_border<3, true>(picture, inverse, options, out)
                     : warp_border<3, false>(picture, inverse, options, out);
  }
  return out;
}

}  // namespace fovea
