// Explanations as pictures: colour maps in which equal steps look equal, overlays with a legend and a caption.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "image/draw.h"
#include "image/image.h"
#include "image/preprocess.h"
#include "insight/explain.h"

namespace fovea::insight {

/// Dark violet to pale yellow for t in 0…1 (cut there), lighter all the way: equal steps of t are equal ways in OKLab,
/// and the map reads the same in grey.
FOVEA_API image::Color sequential_color(double t);
/// Blue (-1) over near-white (0) to red (+1); both arms are equally light and strong.
FOVEA_API image::Color diverging_color(double t);

struct RenderOptions {
  std::string class_name;  ///< empty: "class <number>"
  std::string caption;     ///< another line, such as the file's name
  int side = 384;          ///< of the longer side of each of the two pictures, 64 to 4096
  double opacity = 0.65;   ///< of the strongest colour
};

/// What the network saw beside the same with the map over it, a legend with the map's values and a caption. `picture`
/// may have any resolution; it is taken to show the same as the map (view_of). Error{usage} for an empty picture or
/// options out of range.
FOVEA_API image::Image render(const image::Image& picture, const Explanation& explanation,
                              const RenderOptions& options = {});

/// The two pictures of render() alone, RGB, for pages that have captions of their own.
struct Panels {
  image::Image picture, overlay;
  double scale = 1;  ///< what the strongest colour stands for
};
/// Errors as render(); of the options, side and opacity count.
FOVEA_API Panels render_panels(const image::Image& picture, const Explanation& explanation,
                               const RenderOptions& options = {});

/// The map's colours alone, one pixel per value.
FOVEA_API image::Image color_map(const Explanation& explanation);

/// The part of a picture that the network sees, with up to `side` pixels along its longer side instead of the network's
/// few.
FOVEA_API image::Image view_of(const image::Image& picture, const image::Preprocessing& preprocessing, int side = 384);

}  // namespace fovea::insight
