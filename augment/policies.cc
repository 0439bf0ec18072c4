// RandAugment and TrivialAugmentWide: torchvision's lists of operations and tables of magnitudes.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "augment/options_internal.h"
#include "augment/pixel_ops.h"
#include "image/color.h"

namespace fovea::transforms {

namespace {

enum class Op {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  color,
  contrast,
  sharpness,
  posterize,
  solarize,
  autocontrast,
  equalize,
};
constexpr int kOps = 14;

constexpr double kDegrees = 180 / 3.14159265358979323846;

/// How far each operation goes at the last bin.
struct Limits {
  double shear;      // as a tangent
  double translate;  // pixels; times the side / 331 where `relative`
  bool relative;
  double degrees;
  double enhance;         // factor 1 ± this
  double posterize_bits;  // removed
};
constexpr Limits kRandAugment = {0.3, 150.0 / 331, true, 30, 0.9, 4};
constexpr Limits kTrivialWide = {0.99, 32, false, 135, 0.99, 6};

void enhance(image::Image& picture, Op op, double factor) {
  const auto f = static_cast<float>(factor);
  switch (op) {
    case Op::brightness: return image::adjust_brightness(picture, f);
    case Op::color: return image::adjust_saturation(picture, f);
    case Op::contrast: return image::adjust_contrast(picture, f);
    default: return adjust_sharpness(picture, factor);
  }
}

/// @param bin    magnitude, 0 to bins - 1
/// @param sign   +1 or -1 where the operation has a direction
void apply_op(image::Image& picture, Op op, const Limits& limits, int bin, int bins, double sign,
              const WarpOptions& warp) {
  const double share = bins > 1 ? static_cast<double>(bin) / (bins - 1) : 0;
  const double w = picture.width, h = picture.height;
  const auto warped = [&](const Affine& m) { picture = warp_affine(picture, m, warp); };
  switch (op) {
    case Op::identity: return;
    // torchvision shears about the corner, as the AutoAugment paper's code did.
    case Op::shear_x:
      return warped(inverse_affine(0, 0, 0, 0, 0, 1, std::atan(sign * limits.shear * share) * kDegrees, 0));
    case Op::shear_y:
      return warped(inverse_affine(0, 0, 0, 0, 0, 1, 0, std::atan(sign * limits.shear * share) * kDegrees));
    case Op::translate_x:
      return warped({1, 0, -std::trunc(sign * share * limits.translate * (limits.relative ? w : 1)), 0, 1, 0});
    case Op::translate_y:
      return warped({1, 0, 0, 0, 1, -std::trunc(sign * share * limits.translate * (limits.relative ? h : 1))});
    // Positive angles turn anticlockwise, as Image.rotate does.
    case Op::rotate: return warped(inverse_affine(w / 2, h / 2, -sign * share * limits.degrees, 0, 0, 1, 0, 0));
    case Op::brightness:
    case Op::color:
    case Op::contrast:
    case Op::sharpness: return enhance(picture, op, 1 + sign * share * limits.enhance);
    case Op::posterize: return posterize(picture, 8 - round_even(share * limits.posterize_bits));
    case Op::solarize: return solarize(picture, 255 * (1 - share));
    case Op::autocontrast: return autocontrast(picture);
    case Op::equalize: return equalize(picture);
  }
}

class Policy final : public Transform {
 public:
  Policy(const char* name, const Limits& limits, const RandAugmentOptions& options, bool random_magnitude)
      : name_(name), limits_(limits), o_(options), random_magnitude_(random_magnitude) {
    require(name, "operations", o_.operations, 1, 100);
    require(name, "bins", o_.bins, 2, 1000);
    require(name, "magnitude", o_.magnitude, 0, o_.bins - 1);
    require(name, o_.warp);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (picture.empty()) return;
    for (int k = 0; k < o_.operations; ++k) {
      const auto op = static_cast<Op>(rng.below(kOps));
      const int bin = random_magnitude_ ? draw_int(rng, 0, o_.bins - 1) : o_.magnitude;
      const double sign = rng.chance(0.5) ? -1 : 1;
      apply_op(picture, op, limits_, bin, o_.bins, sign, o_.warp);
    }
  }
  std::string name() const override { return name_; }
  std::string to_string() const override {
    if (random_magnitude_) return str(name_, "(bins=", o_.bins, ")");
    return str(name_, "(operations=", o_.operations, ", magnitude=", o_.magnitude, "/", o_.bins - 1, ")");
  }

 private:
  const char* name_;
  const Limits& limits_;
  RandAugmentOptions o_;
  bool random_magnitude_;
};

}  // namespace

TransformPtr rand_augment(const RandAugmentOptions& options) {
  return std::make_shared<Policy>("rand_augment", kRandAugment, options, false);
}

TransformPtr trivial_augment_wide(int bins, const WarpOptions& warp) {
  return std::make_shared<Policy>("trivial_augment_wide", kTrivialWide,
                                  RandAugmentOptions{.operations = 1, .magnitude = 0, .bins = bins, .warp = warp},
                                  true);
}

}  // namespace fovea::transforms
