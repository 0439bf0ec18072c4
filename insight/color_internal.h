// Internal: colour spaces in which distances are about what eyes see.
#pragma once

#include <array>

namespace fovea::insight {

/// CIELAB (D65) of sRGB in 0…1: L in 0…100.
std::array<double, 3> cielab(const std::array<double, 3>& srgb);
/// OKLab (Ottosson 2020) to sRGB in 0…1, cut to the gamut.
std::array<double, 3> oklab_to_srgb(const std::array<double, 3>& lab);
std::array<double, 3> srgb_to_oklab(const std::array<double, 3>& srgb);

}  // namespace fovea::insight
