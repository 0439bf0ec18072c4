// Colour arithmetic on whole pictures, in Pillow's and torchvision's formulas, so that a training recipe written for
// those gives the same pixels here. Grey pictures pass through what only concerns colour.
#pragma once

#include <array>
#include <cstdint>

#include "core/export.h"
#include "image/image.h"

namespace fovea::image {

/// One pixel, all 0..255; hue 255 is just short of a full turn. Pillow's convert("HSV"): hue and saturation truncated.
FOVEA_API std::array<std::uint8_t, 3> rgb_to_hsv(std::array<std::uint8_t, 3> rgb);
/// Pillow's convert("RGB") from "HSV".
FOVEA_API std::array<std::uint8_t, 3> hsv_to_rgb(std::array<std::uint8_t, 3> hsv);

/// Pillow's integer luma of one pixel (see to_grey).
inline std::uint8_t luma(std::uint8_t r, std::uint8_t g, std::uint8_t b) {
  return static_cast<std::uint8_t>((r * 19595u + g * 38470u + b * 7471u + 0x8000u) >> 16);
}

/// In place, so that a chain of them allocates nothing. Errors: shape for a broken Image; usage for a parameter out of
/// range.
///
/// Turns every hue by `turns` of the circle, -0.5 to 0.5: torchvision's adjust_hue on PIL pictures (through 8-bit HSV).
FOVEA_API void shift_hue(Image& image, double turns);
/// Pillow's ImageEnhance, factor >= 0, 1 leaves the picture: out = degenerate + factor * (in - degenerate), clipped,
/// truncated. Brightness: degenerate is black.
FOVEA_API void adjust_brightness(Image& image, float factor);
/// Contrast: degenerate is the mean luma, rounded to an integer.
FOVEA_API void adjust_contrast(Image& image, float factor);
/// Saturation (Pillow's ImageEnhance.Color): degenerate is the pixel's own luma. Grey pictures stay.
FOVEA_API void adjust_saturation(Image& image, float factor);

/// Mean luma, 0..255 (0 for an empty picture).
FOVEA_API double mean_luma(const Image& image);

/// 255 - x.
FOVEA_API void invert(Image& image);

}  // namespace fovea::image
