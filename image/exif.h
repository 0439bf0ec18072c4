// The one EXIF value a classifier needs: which way up the camera was held.
#pragma once

#include <cstdint>
#include <span>

#include "core/export.h"

namespace fovea::image {

/// Orientation (tag 0x0112 of the first directory), 1 to 8, from TIFF-structured EXIF data starting with "II*\0" or
/// "MM\0*". Returns 1 for data that is damaged, lacks the tag or holds another value: a broken note must not cost the
/// picture.
FOVEA_API int exif_orientation(std::span<const std::uint8_t> tiff);

}  // namespace fovea::image
