#include "insight/protect/conceal.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "image/draw.h"
#include "image/resize.h"

namespace fovea::insight {
namespace {

constexpr int kCells = 5, kCellPixels = 8;

void blur(image::Image& picture, int left, int top, int width, int height) {
  const int longer = std::max(width, height);
  const int most = std::clamp(longer / kCellPixels, 1, kCells);
  const auto cells = [&](int side) { return std::clamp((side * most + longer / 2) / longer, 1, most); };
  image::Image grid =
      image::resize(image::crop(picture, left, top, width, height), cells(width), cells(height), image::Filter::box);
  for (std::uint8_t& v : grid.pixels) v = static_cast<std::uint8_t>(std::min(255, (v + 4) / 8 * 8));
  image::blit(picture, image::resize(grid, width, height, image::Filter::bilinear), left, top);
}

}  // namespace

Concealment concealment_from_string(std::string_view name) {
  if (name == "mask") return Concealment::mask;
  if (name == "blur") return Concealment::blur;
  throw Error(ErrorKind::usage, "conceal", str("there is no way '", name, "' to conceal a part"), "mask or blur");
}

void conceal(image::Image& picture, const std::vector<ConcealedBox>& boxes) {
  image::check(picture, "conceal");
  for (const ConcealedBox& box : boxes) {
    const bool finite = std::isfinite(box.x) && std::isfinite(box.y) && !std::isnan(box.width + box.height);
    const double left = std::max(0.0, std::floor(box.x)), top = std::max(0.0, std::floor(box.y));
    const double right = std::min<double>(picture.width, std::ceil(box.x + box.width));
    const double bottom = std::min<double>(picture.height, std::ceil(box.y + box.height));
    if (!(finite && box.width > 0 && box.height > 0 && left < right && top < bottom)) {
      throw Error(ErrorKind::usage, "conceal",
                  str("the box ", box.x, ",", box.y, " of ", box.width, "x", box.height,
                      " holds no pixel of this picture of ", picture.width, "x", picture.height),
                  "boxes are x,y,width,height in pixels of the upright picture");
    }
    const int x = static_cast<int>(left), y = static_cast<int>(top);
    const int width = static_cast<int>(right) - x, height = static_cast<int>(bottom) - y;
    if (box.how == Concealment::mask) {
      image::fill_rect(picture, x, y, width, height, {});
    } else {
      blur(picture, x, y, width, height);
    }
  }
}

}  // namespace fovea::insight
