// A picture of what augmentation does, for people to look at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "augment/dataset.h"
#include "augment/transform.h"
#include "image/image.h"

namespace fovea {

struct PreviewOptions {
  int rows = 6;     ///< pictures, 1 to 64: spread over the classes, chosen by the seed
  int columns = 8;  ///< the original and columns - 1 augmented versions of it, 2 to 64
  int cell = 0;     ///< side of a cell in pixels, 16 to 1024; 0: fitting the pictures, 96 to 224
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;  ///< where the random numbers begin
};

/// The grid: one row per picture, the original first, augmented versions beside it, class names as labels. Pictures are
/// shown as large as their cell allows (small ones enlarged by whole factors, without smoothing). A picture that cannot
/// be read is shown as a note in its place. RGB. Errors: usage for options out of range or an empty dataset; what
/// transforms throw.
FOVEA_API image::Image preview_grid(const Dataset& dataset, const std::vector<TransformPtr>& transforms,
                                    const PreviewOptions& options = {});

}  // namespace fovea
