// Random changes to pictures and batches (augmentation): the interfaces, and a function to make each kind. The
// parameters of all follow torchvision's where it has the transform.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "augment/warp.h"
#include "core/export.h"
#include "core/rng.h"
#include "image/image.h"
#include "image/resize.h"
#include "kernels/pictures.h"

namespace fovea {

struct Batch;

/// Changes one picture at random. Immutable and thread-safe: everything random comes from the Rng, so the same picture
/// and Rng give the same result anywhere. Works on grey and RGB pictures of any size from 1×1.
class FOVEA_API Transform {
 public:
  virtual ~Transform();
  virtual void apply(image::Image& picture, Rng& rng) const = 0;
  /// "rotation".
  virtual std::string name() const = 0;
  /// "rotation(degrees=15, border=constant)".
  virtual std::string to_string() const { return name(); }
  /// True for transforms that choose the network's input from the whole picture (random-resized-crop, a crop of given
  /// size). Where a list has one, the loader gives it pictures as decoded; otherwise pictures already resized and
  /// cropped to the network's size, which is cheaper.
  virtual bool resizes() const { return false; }
  /// True where plan() says what apply() would do: such changes can be made on a GPU.
  virtual bool plans() const { return false; }
  /// Appends what apply() would do to a picture of this size, with the same draws. Only where plans().
  virtual void plan(image::Size size, Rng& rng, std::vector<kernels::PixelStep>& steps) const;
};
using TransformPtr = std::shared_ptr<const Transform>;

/// Mixes the pictures of a batch. Sets Batch::soft_labels where it mixes.
class FOVEA_API BatchTransform {
 public:
  virtual ~BatchTransform();
  virtual void apply(Batch& batch, std::int64_t classes, Rng& rng) const = 0;
  /// True where apply() takes batches with Batch::unfinished, too.
  virtual bool plans() const { return false; }
  virtual std::string name() const = 0;
  virtual std::string to_string() const { return name(); }
};
using BatchTransformPtr = std::shared_ptr<const BatchTransform>;

/// Each function checks its options: Error{usage} names the one out of range.
namespace transforms {

/// A range to draw from uniformly.
struct Range {
  double low = 0, high = 0;
};

// ---- geometry

FOVEA_API TransformPtr horizontal_flip(double probability = 0.5);
FOVEA_API TransformPtr vertical_flip(double probability = 0.5);

struct AffineOptions {
  double degrees = 0;                        ///< turns by ±degrees, 0 to 180
  std::array<double, 2> translate = {0, 0};  ///< moves by ± this share of the width and height, 0 to 1
  Range scale = {1, 1};                      ///< enlarges by a factor of this range, 0.01 to 100
  std::array<double, 2> shear = {0, 0};      ///< ± degrees along x and along y, 0 to 89
  WarpOptions warp;
};
/// Rotation, scale, shear and translation in one resampling (torchvision's RandomAffine).
FOVEA_API TransformPtr affine(const AffineOptions& options);
FOVEA_API TransformPtr rotation(double degrees, const WarpOptions& warp = {});
/// Enlarges (factor above 1) or shrinks around the centre.
FOVEA_API TransformPtr zoom(Range factor, const WarpOptions& warp = {});
FOVEA_API TransformPtr translation(double x, double y, const WarpOptions& warp = {});
FOVEA_API TransformPtr shear(double x_degrees, double y_degrees = 0, const WarpOptions& warp = {});

/// Moves by whole pixels, ±pixels in both directions: the usual augmentation of MNIST and CIFAR, equal to padding by so
/// many pixels and cropping the old size at random. Costs no resampling.
FOVEA_API TransformPtr shift(int pixels, Border border = Border::constant, std::array<std::uint8_t, 3> fill = {});

struct RandomCropOptions {
  int width = 0, height = 0;   ///< height 0: as width
  int padding = 0;             ///< added on all sides first
  bool pad_if_needed = false;  ///< pad smaller pictures up to the size instead of Error{usage}
  Border border = Border::constant;
  std::array<std::uint8_t, 3> fill = {};
};
/// torchvision's RandomCrop.
FOVEA_API TransformPtr random_crop(const RandomCropOptions& options);

struct RandomResizedCropOptions {
  int width = 224, height = 0;       ///< height 0: as width
  Range scale = {0.08, 1.0};         ///< share of the area, 0 < low ≤ high ≤ 1
  Range ratio = {3.0 / 4, 4.0 / 3};  ///< width : height, above 0
  image::Filter filter = image::Filter::bilinear;
};
/// torchvision's RandomResizedCrop (Inception crop): ten attempts, else the largest central crop within the ratios.
FOVEA_API TransformPtr random_resized_crop(const RandomResizedCropOptions& options = {});

// ---- colour

struct ColorJitterOptions {
  double brightness = 0;     ///< factor from [max(0, 1 - v), 1 + v]
  double contrast = 0;       ///< the same
  double saturation = 0;     ///< the same
  double hue = 0;            ///< turn from [-v, v] of the circle, 0 to 0.5
  bool random_order = true;  ///< the four in random order, as torchvision does; else in the order above
};
/// torchvision's ColorJitter, with the pixels of Pillow's ImageEnhance.
FOVEA_API TransformPtr color_jitter(const ColorJitterOptions& options);
FOVEA_API TransformPtr brightness(double amount);
FOVEA_API TransformPtr contrast(double amount);
FOVEA_API TransformPtr saturation(double amount);
FOVEA_API TransformPtr hue(double amount);
FOVEA_API TransformPtr grayscale(double probability = 0.1);

// ---- noise and holes

enum class EraseFill {
  mean,   ///< the picture's own mean colour: close to zero after normalisation, as torchvision's default
  color,  ///< EraseOptions::color
  noise,  ///< each value uniform in 0..255
};
struct EraseOptions {
  double probability = 0.5;
  Range area = {0.02, 0.33};  ///< share of the picture
  Range ratio = {0.3, 3.3};   ///< height : width
  EraseFill fill = EraseFill::mean;
  std::array<std::uint8_t, 3> color = {};
};
/// torchvision's RandomErasing (Zhong et al. 2017).
FOVEA_API TransformPtr random_erasing(const EraseOptions& options = {});
/// Adds normal noise whose deviation, in grey levels (0..255), is drawn from the range.
FOVEA_API TransformPtr gaussian_noise(Range deviation = {0, 10}, double probability = 0.5);
/// Blurs with a deviation, in pixels, drawn from the range (0 to 64); kernel radius ceil(3·deviation), mirrored
/// borders.
FOVEA_API TransformPtr gaussian_blur(Range deviation = {0.1, 2.0}, double probability = 0.5);

// ---- policies

struct RandAugmentOptions {
  int operations = 2;
  int magnitude = 9;  ///< 0 to bins - 1
  int bins = 31;
  WarpOptions warp;
};
/// torchvision's RandAugment (Cubuk et al. 2019): operations and magnitude table.
FOVEA_API TransformPtr rand_augment(const RandAugmentOptions& options = {});
/// torchvision's TrivialAugmentWide (Müller and Hutter 2021): one operation at a random magnitude.
FOVEA_API TransformPtr trivial_augment_wide(int bins = 31, const WarpOptions& warp = {});

// ---- combinations

/// Applies the transform with a probability.
FOVEA_API TransformPtr maybe(double probability, TransformPtr transform);
/// One of several, with equal or given weights.
FOVEA_API TransformPtr one_of(std::vector<TransformPtr> choices, std::vector<double> weights = {});

// ---- batches

struct MixupOptions {
  double alpha = 0.2;        ///< shares from Beta(alpha, alpha), above 0
  double probability = 1.0;  ///< of mixing a batch at all
};
/// x = λ·x_i + (1-λ)·x_j with one λ per batch and j a random permutation (Zhang et al. 2018).
FOVEA_API BatchTransformPtr mixup(const MixupOptions& options = {});
struct CutmixOptions {
  double alpha = 1.0;
  double probability = 1.0;
};
/// A box of picture j replaces that of picture i; labels are mixed by area (Yun et al. 2019).
FOVEA_API BatchTransformPtr cutmix(const CutmixOptions& options = {});
/// One of several per batch, with equal or given weights.
FOVEA_API BatchTransformPtr one_of(std::vector<BatchTransformPtr> choices, std::vector<double> weights = {});

/// A draw from Beta(a, b), a and b above 0.
FOVEA_API double draw_beta(Rng& rng, double a, double b);

}  // namespace transforms

/// "horizontal_flip(0.5) → rotation(…)", for logs and the run's record.
FOVEA_API std::string to_string(const std::vector<TransformPtr>& transforms);

}  // namespace fovea
