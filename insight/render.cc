#include "insight/render.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "core/error.h"
#include "insight/color_internal.h"
#include "insight/methods_internal.h"

namespace fovea::insight {
namespace {

using Lab = std::array<double, 3>;
constexpr double kDegree = 0.017453292519943295;
constexpr image::Color kInk{36, 41, 47}, kMuted{110, 119, 129}, kPaper{255, 255, 255};

Lab from_lch(double lightness, double chroma, double degrees) {
  return {lightness, chroma * std::cos(degrees * kDegree), chroma * std::sin(degrees * kDegree)};
}

double distance(const Lab& a, const Lab& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

/// The greatest chroma that sRGB has at a lightness and hue.
double chroma_limit(double lightness, double degrees) {
  double low = 0, high = 0.4;
  for (int i = 0; i < 30; ++i) {
    const double middle = (low + high) / 2;
    const Lab lab = from_lch(lightness, middle, degrees);
    (distance(srgb_to_oklab(oklab_to_srgb(lab)), lab) < 1e-4 ? low : high) = middle;
  }
  return low;
}

image::Color to_color(const Lab& lab) {
  const Lab rgb = oklab_to_srgb(lab);
  const auto byte = [](double v) { return static_cast<std::uint8_t>(std::lround(255 * v)); };
  return {byte(rgb[0]), byte(rgb[1]), byte(rgb[2])};
}

/// Points of a path in OKLab at equal distances along it.
template <class Path>
std::vector<image::Color> even_table(Path path, int size) {
  constexpr int kFine = 2048;
  std::vector<Lab> points;
  std::vector<double> along;
  for (int i = 0; i <= kFine; ++i) {
    points.push_back(path(static_cast<double>(i) / kFine));
    along.push_back(
        i == 0 ? 0
               : along.back() + distance(points[static_cast<std::size_t>(i)], points[static_cast<std::size_t>(i) - 1]));
  }
  std::vector<image::Color> table;
  std::size_t k = 0;
  for (int i = 0; i < size; ++i) {
    const double wanted = along.back() * i / (size - 1);
    while (k + 2 < along.size() && along[k + 1] < wanted) ++k;
    const double t = std::clamp((wanted - along[k]) / (along[k + 1] - along[k]), 0.0, 1.0);
    Lab lab{};
    for (std::size_t c = 0; c < 3; ++c) lab[c] = points[k][c] + t * (points[k + 1][c] - points[k][c]);
    table.push_back(to_color(lab));
  }
  return table;
}

constexpr int kEntries = 256;

const std::vector<image::Color>& sequential_table() {
  static const std::vector<image::Color> table = even_table(
      [](double t) {
        const double lightness = 0.17 + 0.79 * t, hue = 285 + 185 * t;
        return from_lch(lightness, std::min(0.17, 0.92 * chroma_limit(lightness, hue)), hue);
      },
      kEntries);
  return table;
}

/// One arm, from the middle outwards. Both have the chroma that the weaker of the two hues allows.
std::vector<image::Color> arm(double hue) {
  return even_table(
      [hue](double t) {
        const double lightness = 0.97 - 0.5 * t;
        const double limit = std::min(chroma_limit(lightness, 255), chroma_limit(lightness, 30));
        return from_lch(lightness, std::min(0.19 * std::pow(t, 0.8), 0.95 * limit), hue);
      },
      kEntries);
}

image::Color entry(const std::vector<image::Color>& table, double t) {
  return table[static_cast<std::size_t>(std::lround(std::clamp(t, 0.0, 1.0) * (kEntries - 1)))];
}

bool of_pixels(const Explanation& e) {
  return e.method == Method::integrated_gradients || e.method == Method::smooth_grad;
}

/// The map as it is shown. Gradients of pixels are salt that no eye can sum up, so each shows the mean around it
/// (Gauss, 1/120 of the shorter side).
Tensor shown_map(const Explanation& e) {
  if (!of_pixels(e)) return e.map;
  const double sigma = static_cast<double>(std::min(e.map.dim(0), e.map.dim(1))) / 120;
  return gaussian(e.map.view_as(Shape{1, e.map.dim(0), e.map.dim(1), 1}), sigma).view_as(e.map.shape());
}

/// What the strongest colour stands for. Gradients of pixels have a few values far above the rest: 1 in 200 may be cut.
double strongest(const Explanation& e, const Tensor& map) {
  std::vector<float> magnitude;
  for (const float v : map.values<float>()) magnitude.push_back(std::abs(v));
  if (magnitude.empty()) return 1;
  const std::size_t rank = of_pixels(e) ? magnitude.size() - 1 - magnitude.size() / 200 : magnitude.size() - 1;
  std::nth_element(magnitude.begin(), magnitude.begin() + static_cast<std::ptrdiff_t>(rank), magnitude.end());
  const auto top = static_cast<double>(magnitude[rank]);
  return top > 0 ? top : 1;
}

std::string number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", v);
  return text;
}

std::string title_of(Method method) {
  switch (method) {
    case Method::gradcam: return "Grad-CAM";
    case Method::gradcam_pp: return "Grad-CAM++";
    case Method::score_cam: return "Score-CAM";
    case Method::eigen_cam: return "Eigen-CAM";
    case Method::integrated_gradients: return "Integrated gradients";
    case Method::smooth_grad: return "SmoothGrad";
    case Method::occlusion: return "Occlusion";
    case Method::lime: return "LIME";
  }
  return {};
}

std::string unit_of(Method method) {
  switch (method) {
    case Method::occlusion:
    case Method::lime: return "probability";
    case Method::integrated_gradients: return "logit";
    case Method::smooth_grad: return "gradient";
    default: return "weight";
  }
}

void draw_bar(image::Image& canvas, int left, int top, int width, int height, bool is_signed) {
  for (int y = 0; y < height; ++y) {
    const double t = 1 - static_cast<double>(y) / std::max(1, height - 1);
    image::fill_rect(canvas, left, top + y, width, 1, is_signed ? diverging_color(2 * t - 1) : sequential_color(t));
  }
  image::draw_rect(canvas, left, top, width, height, kMuted);
}

/// The map over the picture. The picture loses colour, so that hues are the map's.
image::Image overlay(const image::Image& picture, const Explanation& e, const Tensor& values, double scale,
                     double opacity) {
  image::Image out = picture;
  const Tensor map = enlarge(values, picture.height, picture.width);
  const float* m = map.data<float>();
  for (std::size_t p = 0; p < out.pixels.size() / 3; ++p) {
    std::uint8_t* pixel = out.pixels.data() + 3 * p;
    const double v = static_cast<double>(m[p]) / scale;
    const double grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
    const image::Color color = e.is_signed ? diverging_color(v) : sequential_color(v);
    const double strength =
        e.is_signed ? opacity * std::min(1.0, 1.2 * std::pow(std::abs(v), of_pixels(e) ? 1.0 : 0.5)) : opacity * 0.85;
    const double rgb[3] = {static_cast<double>(color.r), static_cast<double>(color.g), static_cast<double>(color.b)};
    for (int c = 0; c < 3; ++c) {
      const double base = e.is_signed ? 0.9 * grey + 20 : 0.35 * pixel[c] + 0.65 * grey;
      pixel[c] = static_cast<std::uint8_t>(std::lround(std::clamp(base + strength * (rgb[c] - base), 0.0, 255.0)));
    }
  }
  if (e.segments.defined()) {  // borders of superpixels
    const auto* s = e.segments.data<std::int32_t>();
    const auto at = [&](int x, int y) {
      const std::int64_t sx = std::int64_t{x} * e.segments.dim(1) / picture.width,
                         sy = std::int64_t{y} * e.segments.dim(0) / picture.height;
      return s[sy * e.segments.dim(1) + sx];
    };
    for (int y = 0; y + 1 < out.height; ++y) {
      for (int x = 0; x + 1 < out.width; ++x) {
        if (at(x, y) == at(x + 1, y) && at(x, y) == at(x, y + 1)) continue;
        for (int c = 0; c < 3; ++c) out.at(x, y, c) = static_cast<std::uint8_t>(out.at(x, y, c) / 2 + 100);
      }
    }
  }
  return out;
}

}  // namespace

image::Color sequential_color(double t) { return entry(sequential_table(), t); }

image::Color diverging_color(double t) {
  static const std::vector<image::Color> negative = arm(255), positive = arm(30);
  return entry(t < 0 ? negative : positive, std::abs(t));
}

image::Image color_map(const Explanation& e) {
  const Tensor map = shown_map(e);
  const double scale = strongest(e, map);
  image::Image out(static_cast<int>(e.map.dim(1)), static_cast<int>(e.map.dim(0)), 3);
  const auto values = map.values<float>();
  for (std::size_t p = 0; p < values.size(); ++p) {
    const double v = static_cast<double>(values[p]) / scale;
    const image::Color c = e.is_signed ? diverging_color(v) : sequential_color(v);
    out.pixels[3 * p] = c.r;
    out.pixels[3 * p + 1] = c.g;
    out.pixels[3 * p + 2] = c.b;
  }
  return out;
}

image::Image view_of(const image::Image& picture, const image::Preprocessing& preprocessing, int side) {
  image::Preprocessing p = preprocessing;
  const int factor = std::max(1, side / std::max(1, std::max(p.width, p.height)));
  p.width *= factor;
  p.height *= factor;
  p.resize_size *= factor;
  return image::fit(picture, p);
}

Panels render_panels(const image::Image& picture, const Explanation& e, const RenderOptions& o) {
  image::check(picture, "render");
  if (picture.empty() || !e.map.defined()) throw Error(ErrorKind::usage, "render", "there is no picture or no map");
  if (o.side < 64 || o.side > 4096 || !(o.opacity >= 0 && o.opacity <= 1))
    throw Error(ErrorKind::usage, "render",
                str("expected a side of 64 to 4096 and an opacity of 0 to 1, got ", o.side, " and ", o.opacity));
  const double shrink = static_cast<double>(o.side) / std::max(picture.width, picture.height);
  const int width = std::max(1, static_cast<int>(std::lround(picture.width * shrink)));
  const int height = std::max(1, static_cast<int>(std::lround(picture.height * shrink)));
  // Small pictures stay made of squares: nobody should think that the network saw more than it did.
  const image::Filter filter = picture.width * 3 < width ? image::Filter::nearest : image::Filter::bicubic;
  Panels out;
  out.picture = image::resize(image::to_rgb(picture), width, height, filter);
  const Tensor map = shown_map(e);
  out.scale = strongest(e, map);
  out.overlay = overlay(out.picture, e, map, out.scale, o.opacity);
  return out;
}

image::Image render(const image::Image& picture, const Explanation& e, const RenderOptions& o) {
  const Panels panels = render_panels(picture, e, o);
  const int width = panels.picture.width, height = panels.picture.height;
  const double scale = panels.scale;
  const int text = o.side >= 256 ? 2 : 1, line = image::kGlyphHeight * text + 4 * text;
  const int margin = 8 * text, bar = 9 * text, labels = image::kGlyphWidth * text * 8;
  const int total_width = 2 * width + 4 * margin + bar + labels;
  char percent[32];
  std::snprintf(percent, sizeof percent, "%.1f %%", 100 * e.probability);
  std::vector<std::string> lines = {(o.class_name.empty() ? str("class ", e.target) : o.class_name) +
                                        str("  ", percent) + (e.target == e.predicted ? "" : "  (not the most likely)"),
                                    title_of(e.method) + (e.layer.empty() ? std::string() : str(", layer ", e.layer))};
  if (e.method == Method::lime && e.stability > 0) {
    std::snprintf(percent, sizeof percent, ", stability %.2f", e.stability);
    lines.back() += percent;
  }
  if (!o.caption.empty()) lines.push_back(o.caption);
  image::Image canvas(total_width, height + 2 * margin + line * static_cast<int>(lines.size()) + margin / 2, 3, 255);
  image::fill_rect(canvas, 0, 0, canvas.width, canvas.height, kPaper);
  image::blit(canvas, panels.picture, margin, margin);
  image::blit(canvas, panels.overlay, width + 2 * margin, margin);

  const int bar_left = 2 * width + 3 * margin, bar_top = margin + line, bar_height = height - 2 * line;
  const int label_left = bar_left + bar + 3 * text, half = 7 * text / 2;
  image::draw_text(canvas, bar_left, margin, unit_of(e.method).substr(0, 11), kMuted, std::max(1, text - 1));
  draw_bar(canvas, bar_left, bar_top, bar, bar_height, e.is_signed);
  image::draw_text(canvas, label_left, bar_top, (e.is_signed ? "+" : "") + number(scale), kInk, text);
  if (e.is_signed) image::draw_text(canvas, label_left, bar_top + bar_height / 2 - half, "0", kInk, text);
  image::draw_text(canvas, label_left, bar_top + bar_height - 7 * text, e.is_signed ? number(-scale) : "0", kInk, text);

  int y = height + margin + margin;
  for (std::size_t i = 0; i < lines.size(); ++i, y += line)
    image::draw_text(canvas, margin, y, image::fit_text(lines[i], total_width - 2 * margin, text),
                     i == 0 ? kInk : kMuted, text);
  return canvas;
}

}  // namespace fovea::insight
