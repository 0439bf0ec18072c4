// Pillow's resampling reproduced from its definition (weights in double, fixed point in the loops), and crops, pads,
// flips.
#include "image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "core/error.h"
#include "image/resize_passes.h"

namespace fovea::image {
namespace {

constexpr double kPi = std::numbers::pi;

// The kernels, in Pillow's order of operations: the weights are rounded to 22 bits, and another order can round
// otherwise.
double box_filter(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double bilinear_filter(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double hamming_filter(double x) {
  x = std::abs(x);
  if (x == 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  x = x * kPi;
  return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));  // float constants, as in Pillow
}

double bicubic_filter(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x = x * kPi;
  return std::sin(x) / x;
}

double lanczos_filter(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
  double (*value)(double);
  double support;
};

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::box: return {box_filter, 0.5};
    case Filter::bilinear: return {bilinear_filter, 1.0};
    case Filter::hamming: return {hamming_filter, 1.0};
    case Filter::bicubic: return {bicubic_filter, 2.0};
    case Filter::lanczos: return {lanczos_filter, 3.0};
    case Filter::nearest: break;
  }
  return {box_filter, 0.5};
}

// Weights of one axis.
struct Axis {
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;
  std::size_t stride = 0;
  passes::Taps taps() const { return {first.data(), count.data(), weights.data(), stride}; }
};

Axis make_axis(int in_size, float from, float to, int out_size, Kernel kernel) {
  const double scale = static_cast<double>(to - from) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  Axis axis;
  axis.stride = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  const auto outputs = static_cast<std::size_t>(out_size);
  axis.first.resize(outputs);
  axis.count.resize(outputs);
  axis.weights.assign(outputs * axis.stride, 0);
  std::vector<double> exact(axis.stride);
  const double inverse = 1.0 / filter_scale;
  for (std::size_t i = 0; i < outputs; ++i) {
    const double center = from + (static_cast<double>(i) + 0.5) * scale;
    const int low = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in_size) - low;
    double sum = 0.0;
    for (int k = 0; k < count; ++k) {
      const double w = kernel.value((k + low - center + 0.5) * inverse);
      exact[static_cast<std::size_t>(k)] = w;
      sum += w;
    }
    std::int32_t* weights = axis.weights.data() + i * axis.stride;
    for (int k = 0; k < count; ++k) {
      double w = exact[static_cast<std::size_t>(k)];
      if (sum != 0.0) w /= sum;
      weights[k] = static_cast<std::int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << passes::kPrecisionBits));
    }
    axis.first[i] = low;
    axis.count[i] = count;
  }
  return axis;
}

// Source position of each output, summed step by step like Pillow's affine transform: i * step rounds differently.
std::vector<int> nearest_positions(int in_size, float from, float to, int out_size) {
  const double step = static_cast<double>(to - from) / out_size;
  double position = from + step * 0.5;
  std::vector<int> out(static_cast<std::size_t>(out_size));
  for (int& p : out) {
    p = std::clamp(static_cast<int>(position), 0, in_size - 1);
    position += step;
  }
  return out;
}

Image resize_nearest(const Image& image, int width, int height, const Box& box) {
  Image out(width, height, image.channels);
  const std::vector<int> xs = nearest_positions(image.width, box.left, box.right, width);
  const std::vector<int> ys = nearest_positions(image.height, box.top, box.bottom, height);
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* in = image.row(ys[static_cast<std::size_t>(y)]).data();
    std::uint8_t* to = out.row(y).data();
    if (image.channels == 3) {
      for (const int x : xs) {
        std::memcpy(to, in + 3 * static_cast<std::ptrdiff_t>(x), 3);
        to += 3;
      }
    } else {
      for (const int x : xs) *to++ = in[x];
    }
  }
  return out;
}

// Rows first_row to last_row, each resampled to columns.count.size() pixels.
Image resize_across(const Image& image, const Axis& columns, int first_row, int last_row) {
  Image out(static_cast<int>(columns.count.size()), last_row - first_row, image.channels);
  const passes::Taps taps = columns.taps();
  const passes::HorizontalPass pass = passes::horizontal();
  const std::uint8_t* end = image.pixels.data() + image.pixels.size();
  for (int y = 0; y < out.height; ++y) {
    pass(image.row(first_row + y).data(), end, out.row(y).data(), out.width, out.channels, taps);
  }
  return out;
}

// Columns first_column to last_column, resampled to rows.count.size() rows. The image's first row is row `skipped` for
// `rows`.
Image resize_down(const Image& image, const Axis& rows, int skipped, int first_column, int last_column) {
  Image out(last_column - first_column, static_cast<int>(rows.count.size()), image.channels);
  const passes::VerticalPass pass = passes::vertical();
  const auto left = static_cast<std::size_t>(first_column) * static_cast<std::size_t>(image.channels);
  for (int y = 0; y < out.height; ++y) {
    const auto i = static_cast<std::size_t>(y);
    pass(image.row(rows.first[i] - skipped).data() + left, image.row_bytes(), out.row(y).data(), out.row_bytes(),
         rows.weights.data() + i * rows.stride, rows.count[i]);
  }
  return out;
}

void require_picture(const Image& image, const char* where) {
  check(image, where);
  if (image.empty()) throw Error(ErrorKind::usage, where, "the picture is empty");
}

}  // namespace

std::string_view to_string(Filter filter) {
  switch (filter) {
    case Filter::nearest: return "nearest";
    case Filter::box: return "box";
    case Filter::bilinear: return "bilinear";
    case Filter::hamming: return "hamming";
    case Filter::bicubic: return "bicubic";
    case Filter::lanczos: return "lanczos";
  }
  return "?";
}

Filter filter_from_string(std::string_view name) {
  for (const Filter f :
       {Filter::nearest, Filter::box, Filter::bilinear, Filter::hamming, Filter::bicubic, Filter::lanczos}) {
    if (name == to_string(f)) return f;
  }
  if (name == "lanczos3") return Filter::lanczos;
  throw Error(ErrorKind::usage, "resize filter", str("\"", name, "\" is unknown"),
              "nearest, box, bilinear, hamming, bicubic, lanczos");
}

Image resize(const Image& image, int width, int height, Filter filter, std::optional<Box> area, PassOrder order) {
  require_picture(image, "resize");
  if (width < 1 || height < 1)
    throw Error(ErrorKind::usage, "resize", str("cannot resize to ", width, "x", height),
                "both sides must be at least 1");
  const Box whole{0, 0, static_cast<float>(image.width), static_cast<float>(image.height)};
  const Box box = area.value_or(whole);
  // Written so that NaN fails too.
  if (!(box.left >= 0 && box.top >= 0 && box.right <= whole.right && box.bottom <= whole.bottom)) {
    throw Error(ErrorKind::usage, "resize", str("the box leaves the ", image.width, "x", image.height, " picture"));
  }
  if (!(box.right > box.left && box.bottom > box.top)) throw Error(ErrorKind::usage, "resize", "the box is empty");

  const bool across = width != image.width || box.left != 0 || box.right != static_cast<float>(width);
  const bool down = height != image.height || box.top != 0 || box.bottom != static_cast<float>(height);
  if (!across && !down) return image;
  if (filter == Filter::nearest) return resize_nearest(image, width, height, box);

  const Kernel kernel = kernel_of(filter);
  Axis columns, rows;
  if (across) columns = make_axis(image.width, box.left, box.right, width, kernel);
  if (down) rows = make_axis(image.height, box.top, box.bottom, height, kernel);
  if (!down) return resize_across(image, columns, 0, image.height);
  if (!across) return resize_down(image, rows, 0, 0, image.width);
  // Only what the second pass reads is computed in the first: positions grow, so the last one ends the range.
  const std::int64_t shrink_x = std::int64_t{image.width} - width, shrink_y = std::int64_t{image.height} - height;
  if (order == PassOrder::pillow13 && shrink_y > 0 && shrink_y > 2 * shrink_x) {
    const int first = columns.first.front(), last = columns.first.back() + columns.count.back();
    const Image flat = resize_down(image, rows, 0, first, last);
    for (int& position : columns.first) position -= first;
    return resize_across(flat, columns, 0, height);
  }
  const int first = rows.first.front(), last = rows.first.back() + rows.count.back();
  const Image narrow = resize_across(image, columns, first, last);
  return resize_down(narrow, rows, first, 0, width);
}

Size shorter_side_size(int width, int height, int n) {
  if (n < 1 || width < 1 || height < 1) {
    throw Error(ErrorKind::usage, "resize_shorter_side",
                str("cannot scale the shorter side of ", width, "x", height, " to ", n));
  }
  const double longer = static_cast<double>(n) * std::max(width, height) / std::min(width, height);
  if (longer > std::numeric_limits<int>::max()) {
    throw Error(ErrorKind::memory, "resize_shorter_side",
                str(width, "x", height, " with the shorter side at ", n, " is too large"));
  }
  const int other = static_cast<int>(longer);
  return width <= height ? Size{n, other} : Size{other, n};
}

Image resize_shorter_side(const Image& image, int n, Filter filter) {
  require_picture(image, "resize_shorter_side");
  const Size size = shorter_side_size(image.width, image.height, n);
  // A strip of 1 x 100 000 pixels is a small file, but scaled to 256 on its shorter side it would take 20 GB.
  constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;
  if (std::int64_t{size.width} * size.height > kMaxPixels) {
    throw Error(ErrorKind::memory, "resize_shorter_side",
                str(image.width, "x", image.height, " with the shorter side at ", n, " would be ", size.width, "x",
                    size.height),
                "the picture is an extreme strip; crop or stretch it");
  }
  return resize(image, size.width, size.height, filter);
}

Image crop(const Image& image, int left, int top, int width, int height) {
  check(image, "crop");
  if (left < 0 || top < 0 || width < 0 || height < 0 || left > image.width - width || top > image.height - height) {
    throw Error(ErrorKind::usage, "crop",
                str("the area ", width, "x", height, " at (", left, ", ", top, ") leaves the ", image.width, "x",
                    image.height, " picture"));
  }
  Image out(width, height, image.channels == 0 ? 1 : image.channels);
  for (int y = 0; y < height && width > 0; ++y) {
    std::memcpy(out.row(y).data(),
                image.row(top + y).data() + static_cast<std::size_t>(left) * static_cast<std::size_t>(image.channels),
                out.row_bytes());
  }
  return out;
}

Image center_crop(const Image& image, int width, int height) {
  require_picture(image, "center_crop");
  if (width < 1 || height < 1) throw Error(ErrorKind::usage, "center_crop", str("cannot crop to ", width, "x", height));
  if (width > image.width || height > image.height) {
    const int dx = std::max(width - image.width, 0), dy = std::max(height - image.height, 0);
    const Image padded = pad(image, dx / 2, dy / 2, dx - dx / 2, dy - dy / 2);
    return center_crop(padded, width, height);
  }
  // Half of an odd difference rounds to the even neighbour: 1/2 -> 0, 3/2 -> 2, 5/2 -> 2.
  const auto offset = [](int difference) {
    return difference % 2 == 0 ? difference / 2 : (difference / 2 + 1) / 2 * 2;
  };
  return crop(image, offset(image.width - width), offset(image.height - height), width, height);
}

Image pad(const Image& image, int left, int top, int right, int bottom, std::array<std::uint8_t, 3> color) {
  check(image, "pad");
  if (left < 0 || top < 0 || right < 0 || bottom < 0)
    throw Error(ErrorKind::usage, "pad", "margins must not be negative");
  const auto total = [](int a, int b, int c) {
    const std::int64_t sum = std::int64_t{a} + b + c;
    if (sum > std::numeric_limits<int>::max())
      throw Error(ErrorKind::memory, "pad", str("a side of ", sum, " pixels is too large"));
    return static_cast<int>(sum);
  };
  const int channels = image.channels == 0 ? 1 : image.channels;
  Image out(total(image.width, left, right), total(image.height, top, bottom), channels, color[0]);
  if (channels == 3 && (color[1] != color[0] || color[2] != color[0])) {
    for (std::size_t i = 0; i < out.pixels.size(); i += 3)
      std::copy(color.begin(), color.end(), out.pixels.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (int y = 0; y < image.height && image.width > 0; ++y) {
    std::memcpy(out.row(top + y).data() + static_cast<std::size_t>(left) * static_cast<std::size_t>(channels),
                image.row(y).data(), image.row_bytes());
  }
  return out;
}

Image flip_horizontal(const Image& image) {
  check(image, "flip_horizontal");
  Image out = image;
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* in = image.row(y).data();
    std::uint8_t* to = out.row(y).data();
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < image.channels; ++c) to[(image.width - 1 - x) * image.channels + c] = *in++;
    }
  }
  return out;
}

Image flip_vertical(const Image& image) {
  check(image, "flip_vertical");
  Image out = image;
  for (int y = 0; y < image.height; ++y)
    std::copy_n(image.row(y).data(), image.row_bytes(), out.row(image.height - 1 - y).data());
  return out;
}

}  // namespace fovea::image
