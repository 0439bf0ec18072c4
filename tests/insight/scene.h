// Pictures that look like nothing in particular.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/rng.h"
#include "image/image.h"
#include "image/resize.h"

struct SceneOptions {
  int width = 72, height = 60;
  std::uint64_t brightest = 255;  ///< of the colours below the grain
  double grain = 12;              ///< standard deviation
};

/// Smooth random colours with grain, of its own for each seed, and no text.
inline fovea::image::Image scene(std::uint64_t seed, const SceneOptions& options = {}) {
  fovea::Rng rng(seed, "scene");
  fovea::image::Image coarse(9, 8, 3);
  for (std::uint8_t& v : coarse.pixels) v = static_cast<std::uint8_t>(rng.below(options.brightest + 1));
  fovea::image::Image out = fovea::image::resize(coarse, options.width, options.height, fovea::image::Filter::bicubic);
  for (std::uint8_t& v : out.pixels)
    v = static_cast<std::uint8_t>(std::clamp(v + rng.normal() * options.grain, 0.0, 255.0));
  return out;
}
