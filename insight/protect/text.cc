#include "insight/protect/text.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.h"
#include "core/threads/parallel.h"
#include "image/draw.h"
#include "image/resize.h"
#include "insight/protect/text_internal.h"

namespace fovea::insight {
namespace {

/// Share of a's area that b covers.
double covered(const LineCandidate& a, const TextLine& b) {
  const double w = std::min(a.right, b.x + b.width) - std::max(a.left, b.x);
  const double h = std::min(a.bottom, b.y + b.height) - std::max(a.top, b.y);
  if (w <= 0 || h <= 0) return 0;
  return w * h / (static_cast<double>(a.right - a.left) * (a.bottom - a.top));
}

/// Letters some 32 pixels high with white around them, as Tesseract likes them.
image::Image for_reading(const image::Image& ink) {
  const double zoom = 32.0 / ink.height;
  const int w = std::max(1, static_cast<int>(std::lround(ink.width * zoom)));
  const image::Image large = image::resize(ink, std::min(w, 4000), 32, image::Filter::bicubic);
  image::Image out(large.width + 40, large.height + 40, 1, 255);
  image::blit(out, large, 20, 20);
  return out;
}

bool is_text(const Reading& r, const LineCandidate& c) {
  int good = 0, other = 0;
  for (const char ch : r.text) {
    const bool alnum = (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z');
    if (alnum) {
      ++good;
    } else if (ch != ' ' && ch != '-' && ch != ':' && ch != '.' && ch != ',' && ch != '/') {
      ++other;
    }
  }
  if (good < 3 || other > good / 2) return false;
  // A reading of about as many letters as there seem to be. Texture reads as short words, so these have to be surer.
  if (good < 0.4 * c.letters || good > 3 * c.letters + 2) return false;
  if (good >= 8) return r.confidence >= 0.5;
  if (good >= 5) return r.confidence >= 0.7 && c.aligned >= 0.5;
  return r.confidence >= 0.85 && c.contrast >= 80 && c.aligned >= 0.75 && c.color_spread <= 20 &&
         good >= 0.6 * c.letters;
}

}  // namespace

std::vector<TextLine> find_text(const image::Image& picture) {
  image::check(picture, "find_text");
  std::vector<TextLine> out;
  if (picture.empty()) return out;
  // Reading its data takes Tesseract 50 ms, so each thread does it once.
  thread_local std::unique_ptr<LineReader> reader;
  if (!reader) reader = std::make_unique<LineReader>();
  detail::sync_thread_team();  // Tesseract would start as many threads as there are processors
  // Reading takes some 10 ms a line, so textures with hundreds of candidates end somewhere.
  int readings = 60;
  const Candidates candidates = line_candidates(picture);
  for (const LineCandidate& c : candidates.lines) {
    const bool known = std::any_of(out.begin(), out.end(), [&](const TextLine& t) { return covered(c, t) > 0.8; });
    if (known) continue;
    if (readings-- == 0) break;
    Reading r = reader->read(for_reading(c.ink));
    if (!is_text(r, c)) continue;
    LineCandidate wide = c;
    widen(wide, candidates.passes[c.pass]);
    out.push_back(
        {wide.left, wide.top, wide.right - wide.left, wide.bottom - wide.top, std::move(r.text), r.confidence});
  }
  return out;
}

std::vector<ConcealedBox> boxes_of(const std::vector<TextLine>& lines) {
  std::vector<ConcealedBox> out;
  for (const TextLine& t : lines) {
    const double side = 2 + 1.1 * t.height, above = 2 + 0.25 * t.height;
    out.push_back({t.x - side, t.y - above, t.width + 2 * side, t.height + 2 * above, Concealment::mask});
  }
  return out;
}

}  // namespace fovea::insight
