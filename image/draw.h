// A small drawing kit for preview grids and plots: pictures into a canvas, rectangles, lines and text. Everything is
// clipped to the canvas; nothing here fails because something lies outside.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/export.h"
#include "image/image.h"

namespace fovea::image {

/// On a grey canvas its luma is drawn.
struct Color {
  std::uint8_t r = 0, g = 0, b = 0;
};

/// Copies `picture` with its top left corner at (left, top); channels are converted to the canvas's.
FOVEA_API void blit(Image& canvas, const Image& picture, int left, int top);
/// The area [left, left + width) x [top, top + height).
FOVEA_API void fill_rect(Image& canvas, int left, int top, int width, int height, Color color);
/// The border of that area, `thickness` pixels inwards.
FOVEA_API void draw_rect(Image& canvas, int left, int top, int width, int height, Color color, int thickness = 1);
/// A line between two pixels, both included, in square dots of `thickness`.
FOVEA_API void draw_line(Image& canvas, int x0, int y0, int x1, int y1, Color color, int thickness = 1);

/// Letters are 5 x 7 dots, two more below the line for g, p, q and y, in cells of 6 x 10, times `scale`.
inline constexpr int kGlyphWidth = 6, kGlyphHeight = 10;
/// Width and height in pixels that draw_text covers. UTF-8: each code point is one cell; lines are split at '\n'.
FOVEA_API int text_width(std::string_view text, int scale = 1);
FOVEA_API int text_height(std::string_view text, int scale = 1);
/// ASCII is drawn as it is; common accented Latin letters lose their accent; any other code point is drawn as a hollow
/// box.
FOVEA_API void draw_text(Image& canvas, int left, int top, std::string_view text, Color color, int scale = 1);
/// The text, shortened in its middle with ".." so that it is at most `width` pixels wide.
FOVEA_API std::string fit_text(std::string_view text, int width, int scale = 1);

struct GridOptions {
  int columns = 0;      ///< 0: as square as possible
  int cell_width = 0;   ///< 0: the widest picture
  int cell_height = 0;  ///< 0: the tallest picture
  int gap = 4;
  int text_scale = 1;
  Color background{255, 255, 255};
  Color text{0, 0, 0};
};

/// Pictures in a grid of equal cells, each centred in its cell (cut where larger), with a label below where labels[i]
/// exists and is not empty. Always RGB. Error(usage) when there are no pictures, Error(memory) for a canvas beyond 2^28
/// pixels.
FOVEA_API Image make_grid(const std::vector<Image>& pictures, const std::vector<std::string>& labels = {},
                          const GridOptions& options = {});

}  // namespace fovea::image
