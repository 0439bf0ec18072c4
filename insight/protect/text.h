// Text that was written into a picture: the banners of camera traps, the labels of X-rays.
#pragma once

#include <string>
#include <vector>

#include "core/export.h"
#include "image/image.h"
#include "insight/protect/conceal.h"

namespace fovea::insight {

/// A line of text in a picture.
struct TextLine {
  int x = 0, y = 0, width = 0, height = 0;  ///< of the letters, in pixels
  std::string text;                         ///< what it says
  double confidence = 0;                    ///< 0 to 1
};

/// Whether this build can recognise text, and the library and its English data are installed. Looked up once.
FOVEA_API bool text_recognition_available();

/// Lines of horizontal text of one colour, brighter or darker than what is around it, with letters 6 pixels high or
/// more: overlays as machines write them. A line has at least three letters or digits. Error{usage} where
/// text_recognition_available() is false: by shape alone every other photograph seems to hold text.
FOVEA_API std::vector<TextLine> find_text(const image::Image& picture);

/// Boxes to conceal lines: with a margin that covers soft edges, accents and what hangs below the line.
FOVEA_API std::vector<ConcealedBox> boxes_of(const std::vector<TextLine>& lines);

}  // namespace fovea::insight
