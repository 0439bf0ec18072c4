// Internal: letter-like regions, lines of them, and reading them. Not installed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/image.h"

namespace fovea::insight {

/// A connected region of one threshold that may be a letter, or some that touch.
struct Glyph {
  int left = 0, top = 0, right = 0, bottom = 0;  ///< right and bottom excluded
  int area = 0;
  std::int32_t label = 0;
  float color[3] = {};  ///< mean of its extreme pixels
  float contrast = 0;   ///< of its mean to what is around it, in levels
  int width() const { return right - left; }
  int height() const { return bottom - top; }
};

/// Letters in a row, with a picture of them alone.
struct LineCandidate {
  int left = 0, top = 0, right = 0, bottom = 0;
  int letters = 0;          ///< estimated
  double aligned = 0;       ///< share of letters that stand on the line
  double contrast = 0;      ///< mean, in levels
  double color_spread = 0;  ///< largest deviation of a letter's colour from the mean, in levels
  double color[3] = {};     ///< mean of the letters
  std::size_t pass = 0;     ///< of Candidates
  double score() const;
  image::Image ink;  ///< grey, letters dark on white, nothing else; the box with a margin of none
};

/// All that may be letters at one size and threshold, in pixels of the whole picture.
struct Pass {
  std::vector<Glyph> letters;  ///< with small marks: dots, hyphens
};

struct Candidates {
  std::vector<LineCandidate> lines;  ///< of all thresholds and sizes, the best first
  std::vector<Pass> passes;
};
Candidates line_candidates(const image::Image& picture);

/// Widens a line that proved to be text by what stands on it in the same colour, a few spaces away: further words,
/// marks.
void widen(LineCandidate& line, const Pass& pass);

struct Reading {
  std::string text;
  double confidence = 0;  ///< 0 to 1
};
/// One line of dark letters on white. Not for several threads at once on one object.
class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  Reading read(const image::Image& line);

 private:
  void* api_ = nullptr;
};

}  // namespace fovea::insight
