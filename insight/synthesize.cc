// Synthetic pictures of a class: changed, blended, pasted, recoloured.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "augment/transform.h"
#include "core/error.h"
#include "image/resize.h"
#include "insight/color_internal.h"
#include "insight/mitigate.h"

namespace fovea::insight {
namespace {

std::uint8_t to_byte(double v) { return static_cast<std::uint8_t>(std::lround(std::clamp(v, 0.0, 255.0))); }

std::string told(const char* name, double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%s=%.3f", name, value);
  return text;
}

/// The other picture with the size and channels of the first.
image::Image fitted(const image::Image& other, const image::Image& to) {
  return image::resize(image::convert(other, to.channels), to.width, to.height, image::Filter::bicubic);
}

/// Gentle: what a second look at the same thing might give.
image::Image augmented(const image::Image& picture, Rng& rng, std::string& parameters) {
  using namespace transforms;
  image::Image out = picture;
  AffineOptions o;
  o.degrees = 10;
  o.translate = {0.06, 0.06};
  o.scale = {0.9, 1.15};
  o.warp.border = Border::reflect;
  const TransformPtr steps[] = {affine(o), color_jitter({.brightness = 0.2, .contrast = 0.2})};
  for (const TransformPtr& step : steps) {
    step->apply(out, rng);
    parameters += str(parameters.empty() ? "" : " ", step->to_string());
  }
  return out;
}

image::Image blended(const image::Image& a, const image::Image& b, Rng& rng, std::string& parameters) {
  const double share = rng.uniform(0.5, 0.8);
  parameters = told("share", share);
  image::Image out = a;
  for (std::size_t i = 0; i < out.pixels.size(); ++i)
    out.pixels[i] = to_byte(share * a.pixels[i] + (1 - share) * b.pixels[i]);
  return out;
}

image::Image pasted(const image::Image& a, const image::Image& b, Rng& rng, std::string& parameters) {
  const double rx = rng.uniform(0.22, 0.4), ry = rng.uniform(0.22, 0.4), cx = rng.uniform(0.35, 0.65),
               cy = rng.uniform(0.35, 0.65);
  parameters = str(told("x", cx), " ", told("y", cy), " ", told("rx", rx), " ", told("ry", ry));
  image::Image out = a;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const double r = std::hypot(((x + 0.5) / out.width - cx) / rx, ((y + 0.5) / out.height - cy) / ry);
      // Full inside 0.8 of the radius, nothing beyond 1.2 of it.
      const double t = std::clamp((1.2 - r) / 0.4, 0.0, 1.0), mask = t * t * (3 - 2 * t);
      for (int c = 0; c < out.channels; ++c)
        out.at(x, y, c) = to_byte(mask * b.at(x, y, c) + (1 - mask) * a.at(x, y, c));
    }
  }
  return out;
}

struct Statistics {
  std::array<double, 3> mean{}, deviation{};
};

using Lab = std::array<double, 3>;

std::vector<Lab> labs_of(const image::Image& picture) {
  const image::Image rgb = image::to_rgb(picture);
  std::vector<Lab> out(rgb.pixels.size() / 3);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint8_t* p = rgb.pixels.data() + 3 * i;
    out[i] = srgb_to_oklab({p[0] / 255.0, p[1] / 255.0, p[2] / 255.0});
  }
  return out;
}

Statistics statistics(const std::vector<Lab>& labs) {
  Statistics s;
  const auto n = static_cast<double>(labs.size());
  for (const Lab& v : labs) {
    for (std::size_t c = 0; c < 3; ++c) s.mean[c] += v[c] / n;
  }
  for (const Lab& v : labs) {
    for (std::size_t c = 0; c < 3; ++c) s.deviation[c] += (v[c] - s.mean[c]) * (v[c] - s.mean[c]) / n;
  }
  for (double& d : s.deviation) d = std::sqrt(d);
  return s;
}

image::Image restyled(const image::Image& a, const image::Image& b, Rng& rng, std::string& parameters) {
  const double strength = rng.uniform(0.5, 1.0);
  parameters = told("strength", strength);
  std::vector<Lab> labs = labs_of(a);
  const Statistics own = statistics(labs), wanted = statistics(labs_of(b));
  image::Image out = image::to_rgb(a);
  for (std::size_t i = 0; i < labs.size(); ++i) {
    Lab& v = labs[i];
    for (std::size_t c = 0; c < 3; ++c) {
      // At most thrice the contrast: of a nearly even picture it would show nothing but noise.
      const double ratio =
          own.deviation[c] > 1e-4 ? std::clamp(wanted.deviation[c] / own.deviation[c], 1.0 / 3, 3.0) : 1;
      const double moved = (v[c] - own.mean[c]) * ratio + wanted.mean[c];
      v[c] += strength * (moved - v[c]);
    }
    const Lab rgb = oklab_to_srgb(v);
    for (std::size_t c = 0; c < 3; ++c) out.pixels[3 * i + c] = to_byte(255 * rgb[c]);
  }
  return image::convert(out, a.channels);
}

}  // namespace

image::Image synthesize(Mitigation kind, const image::Image& picture, const image::Image& other, Rng& rng,
                        std::string* parameters) {
  image::check(picture, "synthesize");
  if (picture.empty()) throw Error(ErrorKind::usage, "synthesize", "the picture is empty");
  std::string drawn;
  image::Image out;
  switch (kind) {
    case Mitigation::augment: out = augmented(picture, rng, drawn); break;
    case Mitigation::mixup: out = blended(picture, fitted(other, picture), rng, drawn); break;
    case Mitigation::paste: out = pasted(picture, fitted(other, picture), rng, drawn); break;
    case Mitigation::style: out = restyled(picture, other, rng, drawn); break;
    default: throw Error(ErrorKind::usage, "synthesize", str("'", to_string(kind), "' makes no pictures"));
  }
  if (parameters) *parameters = drawn;
  return out;
}

}  // namespace fovea::insight
