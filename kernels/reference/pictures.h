// Batches of pictures, pixel by pixel.
#pragma once

#include "kernels/problems.h"
#include "kernels/reference/pixel_math.h"

namespace fovea::kernels::reference {

inline void change_pictures(const ChangePicturesProblem& p) {
  const std::int64_t n = p.in.dim(0), h = p.in.dim(1), w = p.in.dim(2), c = p.in.dim(3), one = h * w * c;
  std::vector<std::uint8_t> before(static_cast<std::size_t>(one)), after(static_cast<std::size_t>(one));
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint8_t* const from = p.in.ptr<std::uint8_t>() + i * one;
    before.assign(from, from + one);
    for (int k = 0; k < p.per_picture; ++k) {
      const PixelStep& step = p.steps[static_cast<std::size_t>(i * p.per_picture + k)];
      double sums[4] = {}, terms[4];
      for (std::int64_t at = 0; needs_sums(step) && at < one; at += c) {
        add_terms(before.data() + at, c, terms);
        for (int j = 0; j < 4; ++j) sums[j] += terms[j];
      }
      for (std::int64_t y = 0; y < h; ++y) {
        for (std::int64_t x = 0; x < w; ++x)
          changed_pixel(step, {before.data(), h, w, c}, sums, y, x, after.data() + (y * w + x) * c);
      }
      before.swap(after);
    }
    std::copy(before.begin(), before.end(), p.out.ptr<std::uint8_t>() + i * one);
  }
}

inline void pictures_to_floats(const PicturesToFloatsProblem& p) {
  const std::int64_t c = p.x.dim(3);
  const std::uint8_t* const x = p.x.ptr<std::uint8_t>();
  const float* const values = p.values.ptr<float>();
  float* const y = p.y.ptr<float>();
  for (std::int64_t i = 0; i < p.x.numel(); i += c) {
    for (std::int64_t k = 0; k < c; ++k) y[i + k] = values[x[i + (p.reversed ? c - 1 - k : k)] * c + k];
  }
}

inline void mix_pictures(const MixPicturesProblem& p) {
  const MixStep& s = *p.step;
  const std::int64_t n = p.x.dim(0), h = p.x.dim(1), w = p.x.dim(2), c = p.x.dim(3);
  const auto x = p.x.typed<float>();
  const auto y = p.y.typed<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t other = s.partner[static_cast<std::size_t>(i)];
    for (std::int64_t a = 0; a < h; ++a) {
      for (std::int64_t b = 0; b < w; ++b) {
        const bool in_box = a >= s.y0 && a < s.y1 && b >= s.x0 && b < s.x1;
        for (std::int64_t k = 0; k < c; ++k) {
          const float own = x(i, a, b, k), its = x(other, a, b, k);
          y(i, a, b, k) = s.cut ? (in_box ? its : own) : s.share * own + (1 - s.share) * its;
        }
      }
    }
  }
}

}  // namespace fovea::kernels::reference
