// Letters are regions of one brightness that stand out from what is around them; text is several of them, of one colour
// and about one height, in a row on a line.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "image/resize.h"
#include "insight/protect/text_internal.h"

namespace fovea::insight {
namespace {

constexpr int kMinHeight = 6, kMaxHeight = 44;  // of letters, in pixels of the level looked at
constexpr int kMinHeightEnlarged = 9;           // where the picture is looked at in twice its size
constexpr std::int64_t kEnlargedPixels = 1'200'000;
constexpr int kBright[] = {250, 232, 210, 185, 160, 135}, kDark[] = {5, 23, 45, 70, 95, 120};

/// One size of the picture.
struct Level {
  image::Image picture, luma;
  double scale = 1;  ///< pixels of the whole picture for one of this
};

struct Regions {
  std::vector<std::int32_t> labels;  ///< 0: ground
  std::vector<Glyph> glyphs;         ///< all regions, label - 1 is the index
};

/// Regions of pixels beyond the threshold that touch, corners included: two passes with a union of labels.
Regions find_regions(const image::Image& luma, int threshold, bool bright) {
  const int w = luma.width, h = luma.height;
  Regions out;
  out.labels.assign(static_cast<std::size_t>(w) * static_cast<std::size_t>(h), 0);
  std::vector<std::int32_t> parent(1, 0);
  const auto root = [&](std::int32_t a) {
    while (parent[static_cast<std::size_t>(a)] != a) {
      std::int32_t& up = parent[static_cast<std::size_t>(a)];
      up = parent[static_cast<std::size_t>(up)];
      a = up;
    }
    return a;
  };
  for (int y = 0; y < h; ++y) {
    const std::uint8_t* row = luma.row(y).data();
    std::int32_t* now = out.labels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(w);
    const std::int32_t* up = y > 0 ? now - w : nullptr;
    for (int x = 0; x < w; ++x) {
      if (bright ? row[x] < threshold : row[x] > threshold) continue;
      std::int32_t label = 0;
      const auto join = [&](std::int32_t other) {
        if (other == 0) return;
        other = root(other);
        if (label == 0) {
          label = other;
        } else if (label != other) {
          const auto [low, high] = std::minmax(label, other);
          parent[static_cast<std::size_t>(high)] = low;
          label = low;
        }
      };
      if (x > 0) join(now[x - 1]);
      if (up) {
        if (x > 0) join(up[x - 1]);
        join(up[x]);
        if (x + 1 < w) join(up[x + 1]);
      }
      if (label == 0) {
        label = static_cast<std::int32_t>(parent.size());
        parent.push_back(label);
      }
      now[x] = label;
    }
  }
  std::vector<std::int32_t> final_label(parent.size(), 0);
  for (int y = 0; y < h; ++y) {
    std::int32_t* now = out.labels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(w);
    for (int x = 0; x < w; ++x) {
      if (now[x] == 0) continue;
      std::int32_t& label = final_label[static_cast<std::size_t>(root(now[x]))];
      if (label == 0) {
        out.glyphs.push_back({x, y, x + 1, y + 1, 0, 0, {}, 0});
        label = static_cast<std::int32_t>(out.glyphs.size());
        out.glyphs.back().label = label;
      }
      now[x] = label;
      Glyph& g = out.glyphs[static_cast<std::size_t>(label - 1)];
      g.left = std::min(g.left, x);
      g.right = std::max(g.right, x + 1);
      g.bottom = y + 1;
      ++g.area;
    }
  }
  return out;
}

/// Fills in colour and contrast; false where the region is not letter-like.
bool measure(Glyph& g, const Level& level, const Regions& regions, bool bright) {
  const int w = level.luma.width, h = level.luma.height;
  double inside = 0, outside = 0;
  int out_count = 0;
  std::vector<std::pair<int, int>> pixels;  // luma, position
  for (int y = std::max(0, g.top - 2); y < std::min(h, g.bottom + 2); ++y) {
    for (int x = std::max(0, g.left - 2); x < std::min(w, g.right + 2); ++x) {
      const int at = y * w + x;
      if (regions.labels[static_cast<std::size_t>(at)] == g.label) {
        pixels.emplace_back(level.luma.at(x, y), at);
        inside += level.luma.at(x, y);
        continue;
      }
      // Next to the letter but not its soft edge: exactly two pixels away from some of its pixels.
      bool touches = false, near = false;
      for (int dy = -2; dy <= 2 && !touches; ++dy) {
        for (int dx = -2; dx <= 2; ++dx) {
          const int nx = x + dx, ny = y + dy;
          if (nx < 0 || ny < 0 || nx >= w || ny >= h) continue;
          if (regions.labels[static_cast<std::size_t>(ny * w + nx)] != g.label) continue;
          near = true;
          touches |= std::abs(dx) <= 1 && std::abs(dy) <= 1;
        }
      }
      if (!near || touches) continue;
      outside += level.luma.at(x, y);
      ++out_count;
    }
  }
  if (out_count == 0) return false;
  g.contrast = static_cast<float>((bright ? 1 : -1) * (inside / g.area - outside / out_count));
  if (g.contrast < 35) return false;
  // The extreme third of the pixels is the core of the strokes.
  const std::size_t core = std::max<std::size_t>(1, pixels.size() / 3);
  std::nth_element(pixels.begin(), pixels.begin() + static_cast<std::ptrdiff_t>(core - 1), pixels.end(),
                   [bright](const auto& a, const auto& b) { return bright ? a.first > b.first : a.first < b.first; });
  for (std::size_t i = 0; i < core; ++i) {
    const int x = pixels[i].second % w, y = pixels[i].second / w;
    for (int c = 0; c < 3; ++c)
      g.color[c] +=
          static_cast<float>(level.picture.at(x, y, level.picture.channels == 3 ? c : 0)) / static_cast<float>(core);
  }
  return true;
}

double color_distance(const Glyph& a, const Glyph& b) {
  double d = 0;
  for (int c = 0; c < 3; ++c) d = std::max(d, std::abs(double{a.color[c]} - double{b.color[c]}));
  return d;
}

/// Whether b may follow a, or stand before it, on one line.
bool neighbours(const Glyph& a, const Glyph& b) {
  const int tall = std::max(a.height(), b.height()), low = std::min(a.height(), b.height());
  const int gap = std::max(a.left, b.left) - std::min(a.right, b.right);
  const int overlap = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return gap <= tall && gap > -0.35 * std::min(a.width(), b.width()) - 1 && overlap >= 0.5 * low &&
         tall <= 2.1 * low + 1 && color_distance(a, b) < 40;
}

/// Median of some values, which are reordered.
double median(std::vector<double>& v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// The letters of a row that a picture is made of, with small marks (dots, hyphens) between them.
LineCandidate make_candidate(const std::vector<const Glyph*>& letters, const Level& level, const Regions& regions,
                             bool bright) {
  LineCandidate line;
  line.left = line.top = 1 << 30;
  std::vector<double> heights, bottoms;
  double(&mean)[3] = line.color;
  for (const Glyph* g : letters) {
    line.left = std::min(line.left, g->left);
    line.top = std::min(line.top, g->top);
    line.right = std::max(line.right, g->right);
    line.bottom = std::max(line.bottom, g->bottom);
    heights.push_back(g->height());
    line.contrast += g->contrast / static_cast<double>(letters.size());
    for (int c = 0; c < 3; ++c) mean[c] += g->color[c] / static_cast<double>(letters.size());
  }
  const double height = median(heights);
  for (const Glyph* g : letters) {
    line.letters += std::max(1, static_cast<int>(std::lround(g->width() / (0.62 * height))));
    for (int c = 0; c < 3; ++c) line.color_spread = std::max(line.color_spread, std::abs(g->color[c] - mean[c]));
    bottoms.push_back(g->bottom);
  }
  const double base = median(bottoms), tolerance = std::max(1.0, 0.1 * height);
  int aligned = 0;
  for (const Glyph* g : letters) aligned += std::abs(g->bottom - base) <= tolerance;
  line.aligned = static_cast<double>(aligned) / static_cast<double>(letters.size());

  // A picture of these regions alone, with their soft edges: contrast to the ground as ink.
  const int w = level.luma.width;
  line.ink = image::Image(line.right - line.left, line.bottom - line.top, 1, 255);
  std::vector<bool> ours(regions.glyphs.size() + 1, false);
  for (const Glyph* g : letters) ours[static_cast<std::size_t>(g->label)] = true;
  for (const Glyph& g : regions.glyphs) {
    const bool within = g.left >= line.left && g.right <= line.right && g.top >= line.top && g.bottom <= line.bottom;
    if (within && g.height() <= 0.6 * height) ours[static_cast<std::size_t>(g.label)] = true;
  }
  for (int y = line.top; y < line.bottom; ++y) {
    for (int x = line.left; x < line.right; ++x) {
      bool ink = false;
      for (int dy = -1; dy <= 1 && !ink; ++dy) {
        for (int dx = -1; dx <= 1 && !ink; ++dx) {
          const int nx = x + dx, ny = y + dy;
          if (nx < 0 || ny < 0 || nx >= w || ny >= level.luma.height) continue;
          ink = ours[static_cast<std::size_t>(regions.labels[static_cast<std::size_t>(ny * w + nx)])];
        }
      }
      if (!ink) continue;
      const double own = 0.299 * mean[0] + 0.587 * mean[1] + 0.114 * mean[2];
      const double ground = own + (bright ? -1 : 1) * std::max(40.0, line.contrast);
      const double share = std::clamp((level.luma.at(x, y) - ground) / (own - ground), 0.0, 1.0);
      line.ink.at(x - line.left, y - line.top) = static_cast<std::uint8_t>(std::lround(255 * (1 - share)));
    }
  }
  const auto scaled = [&](int v) { return static_cast<int>(std::lround(v * level.scale)); };
  line.left = scaled(line.left);
  line.top = scaled(line.top);
  line.right = scaled(line.right);
  line.bottom = scaled(line.bottom);
  return line;
}

void candidates_of(const Level& level, int threshold, bool bright, Candidates& out) {
  Regions regions = find_regions(level.luma, threshold, bright);
  std::vector<Glyph> letters, marks;
  const int least = level.scale < 1 ? kMinHeightEnlarged : kMinHeight;
  for (Glyph& g : regions.glyphs) {
    const int w = g.width(), h = g.height();
    if (h > kMaxHeight || w > 9 * h || g.area < 3) continue;
    const double fill = static_cast<double>(g.area) / (static_cast<double>(w) * h);
    const bool letter = h >= least && g.area >= 6 && fill >= 0.12 && (fill <= 0.92 || w <= 0.45 * h);
    if (!letter && (h > least || w > 2 * least)) continue;
    if (measure(g, level, regions, bright)) (letter ? letters : marks).push_back(g);
  }
  if (letters.empty() || letters.size() > 4000) return;
  const std::size_t pass = out.passes.size();
  out.passes.emplace_back();
  for (const auto* list : {&letters, &marks}) {
    for (Glyph g : *list) {
      for (int* v : {&g.left, &g.top, &g.right, &g.bottom}) *v = static_cast<int>(std::lround(*v * level.scale));
      out.passes.back().letters.push_back(g);
    }
  }
  std::sort(letters.begin(), letters.end(), [](const Glyph& a, const Glyph& b) { return a.left < b.left; });
  std::vector<std::size_t> group(letters.size());
  std::iota(group.begin(), group.end(), std::size_t{0});
  const auto root = [&](std::size_t a) {
    while (group[a] != a) a = group[a] = group[group[a]];
    return a;
  };
  for (std::size_t i = 0; i < letters.size(); ++i) {
    for (std::size_t j = i + 1; j < letters.size() && letters[j].left <= letters[i].right + kMaxHeight; ++j) {
      if (neighbours(letters[i], letters[j])) group[root(j)] = root(i);
    }
  }
  std::vector<std::vector<const Glyph*>> rows(letters.size());
  for (std::size_t i = 0; i < letters.size(); ++i) rows[root(i)].push_back(&letters[i]);
  for (const auto& row : rows) {
    if (row.empty()) continue;
    int width = 0, height = 0;
    for (const Glyph* g : row) width += g->width(), height = std::max(height, g->height());
    if (row.size() < 3 && width < 1.5 * height) continue;
    LineCandidate line = make_candidate(row, level, regions, bright);
    if (line.letters < 3 || line.right - line.left < 1.2 * (line.bottom - line.top)) continue;
    line.pass = pass;
    out.lines.push_back(std::move(line));
  }
}

}  // namespace

double LineCandidate::score() const {
  return std::min(letters, 12) / 12.0 + aligned + std::min(contrast, 160.0) / 160 - color_spread / 40;
}

Candidates line_candidates(const image::Image& picture) {
  Candidates out;
  Level level{picture, image::to_grey(picture), 1};
  // Small letters have soft edges that touch at their own size.
  if (static_cast<std::int64_t>(picture.width) * picture.height <= kEnlargedPixels) {
    level.picture = image::resize(picture, 2 * picture.width, 2 * picture.height, image::Filter::bicubic);
    level.luma = image::to_grey(level.picture);
    level.scale = 0.5;
  }
  while (level.luma.width >= 16 && level.luma.height >= kMinHeight) {
    for (const int threshold : kBright) candidates_of(level, threshold, true, out);
    for (const int threshold : kDark) candidates_of(level, threshold, false, out);
    // Letters larger than a level looks for are found in the next, half the size; none is taller than a quarter.
    if (kMaxHeight * level.scale > 0.25 * picture.height) break;
    const int w = level.luma.width / 2, h = level.luma.height / 2;
    if (w < 16 || h < kMinHeight) break;
    level.picture = image::resize(level.picture, w, h, image::Filter::box);
    level.luma = image::to_grey(level.picture);
    level.scale = static_cast<double>(picture.width) / w;
  }
  std::stable_sort(out.lines.begin(), out.lines.end(),
                   [](const LineCandidate& a, const LineCandidate& b) { return a.score() > b.score(); });
  return out;
}

void widen(LineCandidate& line, const Pass& pass) {
  const int height = line.bottom - line.top;
  for (bool grown = true; grown;) {
    grown = false;
    for (const Glyph& g : pass.letters) {
      if (g.left >= line.left && g.right <= line.right) continue;
      const int gap = std::max(g.left, line.left) - std::min(g.right, line.right);
      const int overlap = std::min(g.bottom, line.bottom) - std::max(g.top, line.top);
      double distance = 0;
      for (int c = 0; c < 3; ++c) distance = std::max(distance, std::abs(g.color[c] - line.color[c]));
      if (gap > 2 * height || overlap < 0.6 * g.height() || g.height() > 1.5 * height || distance > 50) continue;
      line.left = std::min(line.left, g.left);
      line.right = std::max(line.right, g.right);
      line.top = std::min(line.top, g.top);
      line.bottom = std::max(line.bottom, g.bottom);
      grown = true;
    }
  }
}

}  // namespace fovea::insight
