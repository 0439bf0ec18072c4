// A model's preprocessing: resize rule, then one table look-up per value.
#include "image/preprocess.h"

#include <cmath>

#include "core/error.h"

namespace fovea::image {

std::string_view to_string(ResizeRule rule) {
  switch (rule) {
    case ResizeRule::stretch: return "stretch";
    case ResizeRule::shorter_side_then_center_crop: return "shorter_side_then_center_crop";
  }
  return "?";
}

std::string_view to_string(ChannelOrder order) { return order == ChannelOrder::rgb ? "rgb" : "bgr"; }

ResizeRule resize_rule_from_string(std::string_view name) {
  for (const ResizeRule r : {ResizeRule::stretch, ResizeRule::shorter_side_then_center_crop}) {
    if (name == to_string(r)) return r;
  }
  throw Error(ErrorKind::usage, "resize rule", str("\"", name, "\" is unknown"),
              "stretch, shorter_side_then_center_crop");
}

ChannelOrder channel_order_from_string(std::string_view name) {
  if (name == "rgb") return ChannelOrder::rgb;
  if (name == "bgr") return ChannelOrder::bgr;
  throw Error(ErrorKind::usage, "channel order", str("\"", name, "\" is unknown"), "rgb, bgr");
}

void check(const Preprocessing& p) {
  const auto fail = [](const std::string& what) { return Error(ErrorKind::usage, "preprocessing", what); };
  // The cap keeps height * width * channels far inside an int even for stored, hostile values.
  constexpr int kMaxSide = 16384;
  if (p.width < 1 || p.height < 1 || p.width > kMaxSide || p.height > kMaxSide) {
    throw fail(str("input size ", p.width, "x", p.height, " is not between 1 and ", kMaxSide));
  }
  if (p.channels != 1 && p.channels != 3) throw fail(str("channels must be 1 or 3, not ", p.channels));
  if (p.rule == ResizeRule::shorter_side_then_center_crop && (p.resize_size < 1 || p.resize_size > kMaxSide)) {
    throw fail(str("resize_size ", p.resize_size, " is not between 1 and ", kMaxSide));
  }
  if (!std::isfinite(p.scale)) throw fail("scale is not a finite number");
  for (std::size_t c = 0; c < static_cast<std::size_t>(p.channels); ++c) {
    if (!std::isfinite(p.mean[c])) throw fail(str("mean of channel ", c, " is not a finite number"));
    if (!std::isfinite(p.std[c]) || p.std[c] == 0) throw fail(str("std of channel ", c, " is zero or not finite"));
  }
}

Image fit(const Image& image, const Preprocessing& p) {
  check(p);
  check(image, "fit");
  if (image.empty()) throw Error(ErrorKind::usage, "preprocessing", "the picture is empty");
  const Image converted = image.channels == p.channels ? Image() : convert(image, p.channels);
  const Image& source = image.channels == p.channels ? image : converted;
  if (p.rule == ResizeRule::stretch) return resize(source, p.width, p.height, p.filter);
  return center_crop(resize_shorter_side(source, p.resize_size, p.filter), p.width, p.height);
}

void to_floats(const Image& image, const Preprocessing& p, float* out_hwc) {
  const Image fitted = fit(image, p);
  const auto channels = static_cast<std::size_t>(p.channels);
  float table[3][256];
  for (std::size_t c = 0; c < channels; ++c) {
    for (int v = 0; v < 256; ++v) table[c][v] = (static_cast<float>(v * p.scale) - p.mean[c]) / p.std[c];
  }
  const std::uint8_t* in = fitted.pixels.data();
  const std::size_t count = fitted.pixels.size();
  if (channels == 1) {
    for (std::size_t i = 0; i < count; ++i) out_hwc[i] = table[0][in[i]];
    return;
  }
  const std::size_t first = p.order == ChannelOrder::bgr ? 2 : 0, last = 2 - first;
  for (std::size_t i = 0; i < count; i += 3) {
    out_hwc[i] = table[0][in[i + first]];
    out_hwc[i + 1] = table[1][in[i + 1]];
    out_hwc[i + 2] = table[2][in[i + last]];
  }
}

}  // namespace fovea::image
