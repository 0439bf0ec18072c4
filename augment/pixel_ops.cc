// Pixel operations with Pillow's arithmetic.
#include "augment/pixel_ops.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace fovea {

namespace {

using Table = std::array<std::uint8_t, 256>;

void apply_table(image::Image& picture, const Table& table) {
  for (std::uint8_t& v : picture.pixels) v = table[v];
}

/// make(histogram) gives each channel its own table.
template <class Make>
void apply_per_channel(image::Image& picture, const Make& make) {
  const auto channels = static_cast<std::size_t>(picture.channels);
  std::array<std::array<std::int64_t, 256>, 3> histograms{};
  for (std::size_t i = 0; i < picture.pixels.size(); i += channels) {
    for (std::size_t c = 0; c < channels; ++c) ++histograms[c][picture.pixels[i + c]];
  }
  std::array<Table, 3> tables;
  for (std::size_t c = 0; c < channels; ++c) tables[c] = make(histograms[c]);
  for (std::size_t i = 0; i < picture.pixels.size(); i += channels) {
    for (std::size_t c = 0; c < channels; ++c) picture.pixels[i + c] = tables[c][picture.pixels[i + c]];
  }
}

Table identity() {
  Table table;
  for (std::size_t i = 0; i < 256; ++i) table[i] = static_cast<std::uint8_t>(i);
  return table;
}

}  // namespace

void posterize(image::Image& picture, int bits) {
  image::check(picture, "posterize");
  if (bits < 0 || bits > 8) throw Error(ErrorKind::usage, "posterize", str("bits = ", bits, " is outside 0..8"));
  const auto mask = static_cast<std::uint8_t>(0xff00 >> bits);
  for (std::uint8_t& v : picture.pixels) v &= mask;
}

void solarize(image::Image& picture, double threshold) {
  image::check(picture, "solarize");
  if (!(threshold >= 0 && threshold <= 256)) {
    throw Error(ErrorKind::usage, "solarize", str("threshold = ", threshold, " is outside 0..256"));
  }
  Table table = identity();
  for (std::size_t i = 0; i < 256; ++i) {
    if (static_cast<double>(i) >= threshold) table[i] = static_cast<std::uint8_t>(255 - i);
  }
  apply_table(picture, table);
}

void autocontrast(image::Image& picture) {
  image::check(picture, "autocontrast");
  apply_per_channel(picture, [](const std::array<std::int64_t, 256>& histogram) {
    Table table = identity();
    int low = 0, high = 255;
    while (low < 255 && histogram[static_cast<std::size_t>(low)] == 0) ++low;
    while (high > 0 && histogram[static_cast<std::size_t>(high)] == 0) --high;
    if (high <= low) return table;
    const double scale = 255.0 / (high - low), offset = -low * scale;
    for (int i = 0; i < 256; ++i) {
      table[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(std::clamp(static_cast<int>(i * scale + offset), 0, 255));
    }
    return table;
  });
}

void equalize(image::Image& picture) {
  image::check(picture, "equalize");
  apply_per_channel(picture, [](const std::array<std::int64_t, 256>& histogram) {
    Table table = identity();
    std::int64_t total = 0, last = 0;
    for (const std::int64_t count : histogram) {
      total += count;
      if (count) last = count;
    }
    const std::int64_t step = (total - last) / 255;
    if (step == 0) return table;
    std::int64_t n = step / 2;
    for (std::size_t i = 0; i < 256; ++i) {
      table[i] = static_cast<std::uint8_t>(std::min<std::int64_t>(n / step, 255));
      n += histogram[i];
    }
    return table;
  });
}

void adjust_sharpness(image::Image& picture, double factor) {
  image::check(picture, "adjust_sharpness");
  if (!(factor >= 0 && factor <= 1e6))
    throw Error(ErrorKind::usage, "adjust_sharpness", str("factor = ", factor, " is below 0 or huge"));
  if (factor == 1 || picture.width < 3 || picture.height < 3) return;
  const std::vector<std::uint8_t> source = picture.pixels;
  const auto alpha = static_cast<float>(factor);
  const auto row = static_cast<std::ptrdiff_t>(picture.row_bytes()),
             step = static_cast<std::ptrdiff_t>(picture.channels);
  for (int y = 1; y + 1 < picture.height; ++y) {
    for (std::ptrdiff_t i = step; i < row - step; ++i) {
      const std::ptrdiff_t at = y * row + i;
      const std::uint8_t* p = source.data() + at;
      const int around =
          p[-row - step] + p[-row] + p[-row + step] + p[-step] + p[step] + p[row - step] + p[row] + p[row + step];
      // Pillow's SMOOTH: (1 1 1, 1 5 1, 1 1 1) / 13, rounded; 13ths never tie.
      const int smooth = (2 * (around + 5 * p[0]) + 13) / 26;
      const float blended = static_cast<float>(smooth) + alpha * static_cast<float>(p[0] - smooth);
      picture.pixels[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(std::clamp(blended, 0.0f, 255.0f));
    }
  }
}

namespace {

/// One row or column of n pixels, `stride` values apart, `channels` interleaved starting at data.
struct Line {
  const std::uint8_t* from;
  std::uint8_t* to;
  std::ptrdiff_t stride;
  int n;
};

constexpr int kWeightBits = 16;

void blur_line(const Line& line, const std::vector<std::int32_t>& weights, std::vector<std::uint8_t>& padded) {
  const int radius = static_cast<int>(weights.size()) - 1;
  padded.resize(static_cast<std::size_t>(line.n + 2 * radius));
  const int period = line.n > 1 ? 2 * (line.n - 1) : 1;
  for (int i = -radius; i < line.n + radius; ++i) {
    int at = i;
    if (at < 0 || at >= line.n) {
      at = ((i % period) + period) % period;
      if (at >= line.n) at = period - at;
    }
    padded[static_cast<std::size_t>(i + radius)] = line.from[at * line.stride];
  }
  for (int i = 0; i < line.n; ++i) {
    const std::uint8_t* p = padded.data() + i + radius;
    std::int32_t sum = (1 << (kWeightBits - 1)) + weights[0] * p[0];
    for (int k = 1; k <= radius; ++k) sum += weights[static_cast<std::size_t>(k)] * (p[-k] + p[k]);
    line.to[i * line.stride] = static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
  }
}

}  // namespace

void gaussian_blur(image::Image& picture, double deviation) {
  image::check(picture, "gaussian_blur");
  if (!(deviation >= 0 && deviation <= 64)) {
    throw Error(ErrorKind::usage, "gaussian_blur", str("deviation = ", deviation, " is outside 0..64 pixels"));
  }
  const int radius = static_cast<int>(std::ceil(3 * deviation));
  if (radius == 0 || picture.empty()) return;
  std::vector<double> exact(static_cast<std::size_t>(radius) + 1);
  double total = 0;
  for (int k = 0; k <= radius; ++k) {
    exact[static_cast<std::size_t>(k)] = std::exp(-0.5 * (k / deviation) * (k / deviation));
    total += (k ? 2 : 1) * exact[static_cast<std::size_t>(k)];
  }
  std::vector<std::int32_t> weights(exact.size());
  std::int32_t rest = 1 << kWeightBits;  // the centre takes what rounding leaves, so that weights add up to exactly one
  for (std::size_t k = 1; k < exact.size(); ++k) {
    weights[k] = static_cast<std::int32_t>(std::lround(exact[k] / total * (1 << kWeightBits)));
    rest -= 2 * weights[k];
  }
  weights[0] = rest;
  while (weights.size() > 1 && weights.back() == 0) weights.pop_back();
  if (weights.size() == 1) return;
  std::vector<std::uint8_t> padded;
  const auto row = static_cast<std::ptrdiff_t>(picture.row_bytes());
  for (int y = 0; y < picture.height; ++y) {
    for (int c = 0; c < picture.channels; ++c) {
      std::uint8_t* p = picture.pixels.data() + y * row + c;
      blur_line({p, p, picture.channels, picture.width}, weights, padded);
    }
  }
  for (std::ptrdiff_t i = 0; i < row; ++i) {
    std::uint8_t* p = picture.pixels.data() + i;
    blur_line({p, p, row, picture.height}, weights, padded);
  }
}

void add_gaussian_noise(image::Image& picture, double deviation, Rng& rng) {
  image::check(picture, "add_gaussian_noise");
  if (!(deviation >= 0 && deviation <= 1e4)) {
    throw Error(ErrorKind::usage, "add_gaussian_noise", str("deviation = ", deviation, " is below 0 or huge"));
  }
  for (std::uint8_t& v : picture.pixels) {
    v = static_cast<std::uint8_t>(std::clamp(std::floor(v + rng.normal(0, deviation) + 0.5), 0.0, 255.0));
  }
}

}  // namespace fovea
