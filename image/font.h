// Internal: the bitmap letters of draw_text.
#pragma once

#include <array>
#include <cstdint>

namespace fovea::image {

/// Seven rows from the top, five dots each, the leftmost in bit 4.
using Glyph = std::array<std::uint8_t, 7>;

/// ASCII 32 to 126; a hollow box for anything else.
const Glyph& glyph(char32_t code);
/// How many dots lower a glyph stands: g, p, q and y reach below the line.
int drop(char32_t code);

}  // namespace fovea::image
