// Augmentation of batches: one launch per step, in which every picture has its own change (none, for those with fewer).
// Compiled without contraction into fused multiply-adds: a level that is truncated must be the CPU's.
#include <algorithm>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce-inl.h"
#include "kernels/reference/pixel_math.h"

namespace fovea::kernels::cuda {

void change_pictures(const ChangePicturesProblem& p) {
  const int device = p.out.device.index, per_picture = p.per_picture;
  const std::int64_t n = p.in.dim(0), h = p.in.dim(1), w = p.in.dim(2), c = p.in.dim(3), pixels = h * w;
  const Scratch steps_there(p.steps.size_bytes(), device);
  copy_to_device(steps_there.data(), p.steps.data(), p.steps.size_bytes(), device);
  const auto* const steps = steps_there.as<const PixelStep>();
  // The last step writes `out`, those before it turn by turn this and `out`.
  const Scratch between_there(per_picture > 1 ? static_cast<std::size_t>(p.in.numel()) : 0, device);
  const Scratch sums_there(static_cast<std::size_t>(n) * 4 * sizeof(double), device);
  double* const sums = sums_there.as<double>();
  const std::uint8_t* in = p.in.ptr<std::uint8_t>();
  for (int k = 0; k < per_picture; ++k) {
    std::uint8_t* const out = (per_picture - k) % 2 == 1 ? p.out.ptr<std::uint8_t>() : between_there.as<std::uint8_t>();
    bool summed = false;
    for (std::int64_t i = 0; i < n && !summed; ++i)
      summed = reference::needs_sums(p.steps[static_cast<std::size_t>(i * per_picture + k)]);
    if (summed) {
      reduce_columns<double, 4>(
          "picture sums", n, pixels, 1,
          [=] FOVEA_LAMBDA(std::int64_t i, std::int64_t pixel, std::int64_t, double(&terms)[4]) {
            reference::add_terms(in + (i * pixels + pixel) * c, c, terms);
          },
          [=] FOVEA_LAMBDA(std::int64_t i, const double(&results)[4]) {
            for (int j = 0; j < 4; ++j) sums[4 * i + j] = results[j];
          },
          device);
    }
    for_each(
        "change_pictures", n * pixels,
        [=] FOVEA_LAMBDA(std::int64_t at) {
          const Divided by_picture(at, pixels), by_row(by_picture.rest, w);
          const std::int64_t i = by_picture.quotient;
          reference::changed_pixel(steps[i * per_picture + k], {in + i * pixels * c, h, w, c}, sums + 4 * i,
                                   by_row.quotient, by_row.rest, out + at * c);
        },
        device);
    in = out;
  }
}

void pictures_to_floats(const PicturesToFloatsProblem& p) {
  const std::uint8_t* const x = p.x.ptr<std::uint8_t>();
  const float* const values = p.values.ptr<float>();
  float* const y = p.y.ptr<float>();
  const std::int64_t c = p.x.dim(3);
  const bool reversed = p.reversed;
  for_each(
      "pictures_to_floats", p.x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const Divided by_pixel(i, c);
        const std::int64_t k = by_pixel.rest, from = reversed ? c - 1 - k : k;
        y[i] = values[x[i - k + from] * c + k];
      },
      p.y.device.index);
}

void mix_pictures(const MixPicturesProblem& p) {
  const MixStep& s = *p.step;
  const int device = p.y.device.index;
  const std::size_t bytes = s.partner.size() * sizeof(std::int64_t);
  const Scratch there(bytes, device);
  copy_to_device(there.data(), s.partner.data(), bytes, device);
  const auto* const partner = there.as<const std::int64_t>();
  const float* const x = p.x.ptr<float>();
  float* const y = p.y.ptr<float>();
  const std::int64_t one = p.x.numel() / p.x.dim(0), w = p.x.dim(2), c = p.x.dim(3);
  const std::int64_t x0 = s.x0, x1 = s.x1, y0 = s.y0, y1 = s.y1;
  const bool cut = s.cut;
  const float share = s.share;
  for_each(
      "mix_pictures", p.x.numel(),
      [=] FOVEA_LAMBDA(std::int64_t i) {
        const Divided by_picture(i, one), by_row(by_picture.rest, w * c);
        const std::int64_t row = by_row.quotient, column = divide(by_row.rest, c);
        const float own = x[i], its = x[partner[by_picture.quotient] * one + by_picture.rest];
        if (cut) {
          y[i] = row >= y0 && row < y1 && column >= x0 && column < x1 ? its : own;
        } else {
          y[i] = share * own + (1 - share) * its;
        }
      },
      device);
}

}  // namespace fovea::kernels::cuda
