// Internal: SVG text by small pieces, and what the plots share. Not installed.
#pragma once

#include <iterator>
#include <string>
#include <string_view>

namespace fovea::svg {

inline constexpr const char* kInk = "#24292f";
inline constexpr const char* kMuted = "#6e7781";
inline constexpr const char* kGrid = "#e6e8eb";
// Okabe and Ito's colours, told apart with any colour vision.
inline constexpr const char* kColors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};

/// Without zeros behind the point.
std::string number(double v, int digits = 1);
/// At most `limit` code points, the last an ellipsis where text was cut; never inside a UTF-8 sequence.
std::string shorten(const std::string& text, std::size_t limit);
/// White to blue; perceptually near enough to even.
std::string shade(double share);

class Svg {
 public:
  Svg(double width, double height);
  void rect(double x, double y, double w, double h, std::string_view fill, std::string_view more = "");
  void line(double x1, double y1, double x2, double y2, std::string_view color, double width = 1,
            std::string_view more = "");
  /// anchor: "start", "middle", "end"; turned: read from below.
  void text(double x, double y, std::string_view content, double size, std::string_view anchor = "start",
            std::string_view color = kInk, double turn = 0, std::string_view more = "");
  void title(double x, double y, std::string_view content) {
    text(x, y, content, 16, "start", kInk, 0, "font-weight=\"bold\"");
  }
  void raw(std::string_view content) { out_ += content; }
  std::string finish() { return std::move(out_) + "</svg>\n"; }

 private:
  std::string out_;
};

}  // namespace fovea::svg
