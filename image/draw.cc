// Drawing into a canvas, clipped.
#include "image/draw.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "image/color.h"
#include "image/font.h"

namespace fovea::image {
namespace {

struct Span {
  int begin, end;
};

// [start, start + size) cut to [0, limit), without overflow.
Span clip(int start, int size, int limit) {
  const std::int64_t end = std::int64_t{start} + std::max(size, 0);
  return {std::clamp(start, 0, limit), static_cast<int>(std::clamp<std::int64_t>(end, 0, limit))};
}

// Reads one code point; bytes that are no UTF-8 count as one unknown character each.
char32_t next_code(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xf0 && first < 0xf8   ? 3
                   : first >= 0xe0 && first < 0xf0 ? 2
                   : first >= 0xc2 && first < 0xe0 ? 1
                                                   : 0;
  if (more == 0 || at + static_cast<std::size_t>(more) > text.size()) return 0xfffd;
  char32_t code = first & (0x3fu >> more);
  for (int i = 0; i < more; ++i) {
    if ((byte(at + static_cast<std::size_t>(i)) & 0xc0) != 0x80) return 0xfffd;
    code = code << 6 | (byte(at + static_cast<std::size_t>(i)) & 0x3f);
  }
  at += static_cast<std::size_t>(more);
  return code;
}

// U+00C0 to U+00FF without their accents; ' ' where there is no such letter.
char32_t plain_letter(char32_t code) {
  static constexpr std::string_view kLatin1 = "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYPsaaaaaaaceeeeiiiidnooooo-ouuuuypy";
  if (code >= 0xc0 && code <= 0xff) return static_cast<char32_t>(kLatin1[code - 0xc0]);
  if (code == 0x2013 || code == 0x2014 || code == 0x2212) return '-';
  if (code == 0x2018 || code == 0x2019) return '\'';
  if (code == 0xa0) return ' ';
  return code;
}

int cells(std::string_view line) {
  int count = 0;
  for (std::size_t at = 0; at < line.size(); ++count) next_code(line, at);
  return count;
}

int lines_of(std::string_view text) { return 1 + static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

int checked_scale(int scale) {
  if (scale < 1 || scale > 1000)
    throw Error(ErrorKind::usage, "draw_text", str("scale ", scale, " is not between 1 and 1000"));
  return scale;
}

}  // namespace

void blit(Image& canvas, const Image& picture, int left, int top) {
  check(canvas, "blit");
  check(picture, "blit");
  if (canvas.empty() || picture.empty()) return;
  if (picture.channels != canvas.channels) return blit(canvas, convert(picture, canvas.channels), left, top);
  const Span xs = clip(left, picture.width, canvas.width), ys = clip(top, picture.height, canvas.height);
  if (xs.begin >= xs.end) return;
  const auto channels = static_cast<std::size_t>(canvas.channels);
  for (int y = ys.begin; y < ys.end; ++y) {
    std::memcpy(canvas.row(y).data() + static_cast<std::size_t>(xs.begin) * channels,
                picture.row(y - top).data() + static_cast<std::size_t>(xs.begin - left) * channels,
                static_cast<std::size_t>(xs.end - xs.begin) * channels);
  }
}

void fill_rect(Image& canvas, int left, int top, int width, int height, Color color) {
  check(canvas, "fill_rect");
  const Span xs = clip(left, width, canvas.width), ys = clip(top, height, canvas.height);
  for (int y = ys.begin; y < ys.end; ++y) {
    std::uint8_t* p = canvas.row(y).data() + static_cast<std::ptrdiff_t>(xs.begin) * canvas.channels;
    for (int x = xs.begin; x < xs.end; ++x, p += canvas.channels) {
      if (canvas.channels == 3)
        p[0] = color.r, p[1] = color.g, p[2] = color.b;
      else
        p[0] = luma(color.r, color.g, color.b);
    }
  }
}

void draw_rect(Image& canvas, int left, int top, int width, int height, Color color, int thickness) {
  const int t = std::min({thickness, width, height});
  if (t < 1) return;
  fill_rect(canvas, left, top, width, t, color);
  fill_rect(canvas, left, top + height - t, width, t, color);
  fill_rect(canvas, left, top, t, height, color);
  fill_rect(canvas, left + width - t, top, t, height, color);
}

void draw_line(Image& canvas, int x0, int y0, int x1, int y1, Color color, int thickness) {
  // Far outside, a line would be walked for ever; charts stay within a canvas's size of it.
  constexpr int kFar = 1 << 20;
  for (int* v : {&x0, &y0, &x1, &y1}) *v = std::clamp(*v, -kFar, kFar);
  const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
  const int t = std::max(thickness, 1);
  for (int i = 0; i <= steps; ++i) {
    const double part = static_cast<double>(i) / steps;
    const int x = static_cast<int>(std::lround(x0 + part * (x1 - x0))),
              y = static_cast<int>(std::lround(y0 + part * (y1 - y0)));
    fill_rect(canvas, x - (t - 1) / 2, y - (t - 1) / 2, t, t, color);
  }
}

int text_width(std::string_view text, int scale) {
  checked_scale(scale);
  int widest = 0;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    widest = std::max(widest, cells(text.substr(at, end - at)));
    at = end + 1;
  }
  return widest == 0 ? 0 : (widest * kGlyphWidth - 1) * scale;
}

int text_height(std::string_view text, int scale) {
  return text.empty() ? 0 : (lines_of(text) * kGlyphHeight - 1) * checked_scale(scale);
}

void draw_text(Image& canvas, int left, int top, std::string_view text, Color color, int scale) {
  checked_scale(scale);
  int x = left, y = top;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = plain_letter(next_code(text, at));
    if (code == '\n') {
      x = left;
      y += kGlyphHeight * scale;
      continue;
    }
    const Glyph& rows = glyph(code);
    const int down = drop(code);
    for (int r = 0; r < 7; ++r) {
      for (int c = 0; c < 5; ++c) {
        if (rows[static_cast<std::size_t>(r)] >> (4 - c) & 1)
          fill_rect(canvas, x + c * scale, y + (r + down) * scale, scale, scale, color);
      }
    }
    x += kGlyphWidth * scale;
    if (x >= canvas.width && text.find('\n', at) == text.npos) return;
  }
}

std::string fit_text(std::string_view text, int width, int scale) {
  if (text_width(text, scale) <= width) return std::string(text);
  const int room = (width / scale + 1) / kGlyphWidth - 2;  // cells beside the two dots
  if (room < 1) return std::string();
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.size();) {
    starts.push_back(at);
    next_code(text, at);
  }
  const auto head = static_cast<std::size_t>((room + 1) / 2), tail = static_cast<std::size_t>(room / 2);
  std::string out(text.substr(0, starts[head]));
  out += "..";
  if (tail > 0) out += text.substr(starts[starts.size() - tail]);
  return out;
}

Image make_grid(const std::vector<Image>& pictures, const std::vector<std::string>& labels,
                const GridOptions& options) {
  if (pictures.empty()) throw Error(ErrorKind::usage, "make_grid", "no pictures given");
  int cell_w = options.cell_width, cell_h = options.cell_height;
  for (const Image& p : pictures) {
    check(p, "make_grid");
    if (options.cell_width <= 0) cell_w = std::max(cell_w, p.width);
    if (options.cell_height <= 0) cell_h = std::max(cell_h, p.height);
  }
  bool labelled = false;
  for (const std::string& label : labels) labelled = labelled || !label.empty();
  const int count = static_cast<int>(pictures.size());
  const int columns = options.columns > 0 ? std::min(options.columns, count)
                                          : static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int rows = (count + columns - 1) / columns;
  const int gap = std::max(options.gap, 0);
  const int label_h = labelled ? kGlyphHeight * checked_scale(options.text_scale) + 2 : 0;
  const std::int64_t w = gap + std::int64_t{columns} * (std::int64_t{cell_w} + gap);
  const std::int64_t h = gap + std::int64_t{rows} * (std::int64_t{cell_h} + label_h + gap);
  if (w > (1 << 28) || h > (1 << 28) || w * h > (1 << 28))
    throw Error(ErrorKind::memory, "make_grid", str("a grid of ", w, "x", h, " pixels is too large"),
                "use smaller cells or fewer pictures");
  Image canvas(static_cast<int>(w), static_cast<int>(h), 3);
  fill_rect(canvas, 0, 0, canvas.width, canvas.height, options.background);
  for (int i = 0; i < count; ++i) {
    const Image& p = pictures[static_cast<std::size_t>(i)];
    const int left = gap + i % columns * (cell_w + gap), top = gap + i / columns * (cell_h + label_h + gap);
    if (!p.empty()) {
      Image cell(cell_w, cell_h, 3);
      fill_rect(cell, 0, 0, cell_w, cell_h, options.background);
      blit(cell, p, (cell_w - p.width) / 2, (cell_h - p.height) / 2);
      blit(canvas, cell, left, top);
    }
    if (static_cast<std::size_t>(i) < labels.size() && label_h > 0) {
      const std::string label = fit_text(labels[static_cast<std::size_t>(i)], cell_w, options.text_scale);
      draw_text(canvas, left + (cell_w - text_width(label, options.text_scale)) / 2, top + cell_h + 2, label,
                options.text, options.text_scale);
    }
  }
  return canvas;
}

}  // namespace fovea::image
