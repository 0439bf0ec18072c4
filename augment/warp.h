// Affine resampling: every rotation, zoom, translation and shear of this room is one call of warp_affine.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/export.h"
#include "image/image.h"

namespace fovea {

/// What lies outside the picture.
enum class Border {
  constant,  ///< WarpOptions::fill
  edge,      ///< the nearest pixel of the picture
  reflect,   ///< the picture mirrored at its edge, the edge pixel included (… c b a | a b c …)
};
FOVEA_API std::string_view to_string(Border border);

struct WarpOptions {
  bool bilinear = true;  ///< false: the nearest pixel
  Border border = Border::constant;
  std::array<std::uint8_t, 3> fill = {};
};

/// Maps points (x, y) to (a x + b y + c, d x + e y + f). Pixel (i, j) has its centre at (i + 0.5, j + 0.5).
struct Affine {
  double a = 1, b = 0, c = 0, d = 0, e = 1, f = 0;
  /// First `inner`, then this one.
  FOVEA_API Affine after(const Affine& inner) const;
};

/// The inverse of: shear, scale and rotate about the centre, then translate; torchvision's _get_inverse_affine_matrix.
/// @param angle    degrees, clockwise
/// @param scale    above 0
/// @param x_shear, y_shear degrees, within ±90 exclusive
FOVEA_API Affine inverse_affine(double center_x, double center_y, double angle, double translate_x, double translate_y,
                                double scale, double x_shear, double y_shear);

/// A picture of the same size whose pixel p shows the input at `inverse`(p). As Pillow's Image.transform(AFFINE): with
/// a constant border, a centre outside the picture gives the fill, one inside mixes pixels of the picture only. Values
/// round to nearest (Pillow truncates): at most one grey level apart. Positions are exact to 1/4096 pixel, so quarter
/// turns are exact. Error{usage} for coefficients that are not finite or beyond 10^4 (c and f: 10^8).
FOVEA_API image::Image warp_affine(const image::Image& picture, const Affine& inverse, const WarpOptions& options = {});

}  // namespace fovea
