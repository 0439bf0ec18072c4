// Internal: checks of transform options and the small draws they share. Not installed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "augment/transform.h"
#include "core/error.h"
#include "core/rng.h"

namespace fovea::transforms {

/// Error{usage} unless low ≤ value ≤ high; NaN fails.
inline void require(std::string_view where, std::string_view what, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorKind::usage, where, str(what, " = ", value, " is outside ", low, "..", high));
}

inline void require(std::string_view where, std::string_view what, Range range, double low, double high) {
  if (range.low >= low && range.high <= high && range.low <= range.high) return;
  throw Error(ErrorKind::usage, where,
              str(what, " = ", range.low, "..", range.high, " should be an ascending range within ", low, "..", high));
}

inline void require(std::string_view where, const WarpOptions& warp) {
  if (warp.border != Border::constant && warp.border != Border::edge && warp.border != Border::reflect) {
    throw Error(ErrorKind::usage, where, "no such border");
  }
}

/// Nothing is drawn for a range of one value, and the value is exact.
inline double draw(Rng& rng, Range range) {
  return range.low == range.high ? range.low : rng.uniform(range.low, range.high);
}

/// Uniform in {low, …, high}.
inline int draw_int(Rng& rng, int low, int high) {
  return low + static_cast<int>(rng.below(static_cast<std::uint64_t>(high - low) + 1));
}

/// Python's and torchvision's round: halves to even.
inline int round_even(double v) { return static_cast<int>(std::nearbyint(v)); }

/// A transform that is made of steps: it says which, and applying it is taking them.
class Planned : public Transform {
 public:
  bool plans() const final { return true; }
  void apply(image::Image& picture, Rng& rng) const final;
};
/// The change of one step to a picture, by the functions of image/ and of this room.
void take_step(image::Image& picture, const kernels::PixelStep& step);

inline void set_fill(kernels::PixelStep& step, const std::array<std::uint8_t, 3>& fill) {
  std::copy(fill.begin(), fill.end(), step.fill);
}
/// The window width×height of `picture` whose corner is at (left, top), which may lie outside.
image::Image window(const image::Image& picture, int left, int top, int width, int height, Border border,
                    const std::array<std::uint8_t, 3>& fill);

/// Checked, normalised running sums of `weights` (equal ones if empty) for `count` choices.
std::vector<double> choice_table(std::string_view where, std::size_t count, const std::vector<double>& weights);
std::size_t draw_choice(Rng& rng, const std::vector<double>& table);

}  // namespace fovea::transforms
