// Parts of a picture made unrecognisable for good.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/export.h"
#include "image/image.h"

namespace fovea::insight {

enum class Concealment {
  mask,  ///< black: nothing of the part is left
  blur,  ///< what a grid of at most 5 x 5 mean colours says of the part, drawn smoothly
};
/// "mask" or "blur". Error{usage} for anything else.
FOVEA_API Concealment concealment_from_string(std::string_view name);

/// A rectangle in pixels of the upright picture, fractions allowed; pixels that it touches belong to it.
struct ConcealedBox {
  double x = 0, y = 0, width = 0, height = 0;
  Concealment how = Concealment::mask;
};

/// Changes the pixels of the boxes, in their order. Parts outside the picture are ignored; a box that is wholly
/// outside, empty or not a number is an Error{usage}: it was meant for something that would stay visible.
///
/// Blur: the box is reduced to the mean colours of a grid, at most 5 cells along the longer side, cells at least 8
/// pixels wide (smaller boxes become one colour), each rounded to a multiple of 8; the box is then drawn from the grid
/// alone. So at most 25 colours of 15 bits survive, whatever the size: unlike a Gaussian blur or a fine mosaic, of
/// which faces and text have been restored. A mask leaves nothing: text and numbers want a mask, since few candidates
/// can be told apart by few colours.
FOVEA_API void conceal(image::Image& picture, const std::vector<ConcealedBox>& boxes);

}  // namespace fovea::insight
