// Changes to pixels that augmentation policies use, with the results of Pillow's ImageOps and ImageEnhance. In place.
// Brightness, contrast, saturation, hue and invert are in image/color.h.
#pragma once

#include <cstdint>

#include "core/export.h"
#include "core/rng.h"
#include "image/image.h"

namespace fovea {

/// Keeps the highest `bits` bits of each value, 0 to 8 (ImageOps.posterize; 0 gives black, as torchvision's tensors).
FOVEA_API void posterize(image::Image& picture, int bits);
/// Inverts values that are not below the threshold, 0 to 256 (ImageOps.solarize).
FOVEA_API void solarize(image::Image& picture, double threshold);
/// Stretches each channel to 0..255 (ImageOps.autocontrast without cutoff).
FOVEA_API void autocontrast(image::Image& picture);
/// Flattens each channel's histogram (ImageOps.equalize).
FOVEA_API void equalize(image::Image& picture);
/// Blends with a smoothed copy: 0 smooth, 1 unchanged, above 1 sharper (ImageEnhance.Sharpness). Border pixels stay.
/// factor ≥ 0.
FOVEA_API void adjust_sharpness(image::Image& picture, double factor);
/// Separable Gaussian, deviation in pixels in [0, 64]; radius ceil(3·deviation); borders mirrored without repeating the
/// edge.
FOVEA_API void gaussian_blur(image::Image& picture, double deviation);
/// Adds normal noise of this deviation (grey levels), rounds and clips. One draw per value.
FOVEA_API void add_gaussian_noise(image::Image& picture, double deviation, Rng& rng);

}  // namespace fovea
