// Superpixels: regions of like colour, the pieces that LIME takes away.
#pragma once

#include "core/tensor.h"
#include "image/image.h"

namespace fovea::insight {

struct SlicOptions {
  int segments = 50;        ///< about so many, at least 1
  double compactness = 10;  ///< weight of distance against colour (CIELAB), above 0: larger means squarer
  int iterations = 10;
};

/// SLIC (Achanta et al. 2012). i32 [height, width], labels from 0 in order of first appearance, each region connected
/// (by edges); regions below a quarter of the mean size are given to a neighbour. Error{usage} for an empty picture or
/// options out of range.
FOVEA_API Tensor slic(const image::Image& picture, const SlicOptions& options = {});

}  // namespace fovea::insight
