#include "insight/duplicates.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>

#include "core/error.h"
#include "core/io/sha256.h"
#include "core/threads/parallel.h"
#include "image/resize.h"

namespace fovea::insight {
namespace {

/// Grey values of a thumbnail.
std::vector<double> thumbnail(const image::Image& grey, int side) {
  const image::Image small = image::resize(grey, side, side, image::Filter::bilinear);
  return {small.pixels.begin(), small.pixels.end()};
}

/// Signs of the DCT's 8×8 lowest frequencies but the mean, against their median: perceptual hash ("pHash").
std::uint64_t frequency_signs(const std::vector<double>& v) {
  constexpr int kSide = 32, kLow = 8;
  static const auto cosine = [] {
    std::array<std::array<double, kSide>, kLow> t{};
    for (int k = 0; k < kLow; ++k) {
      for (int x = 0; x < kSide; ++x)
        t[static_cast<std::size_t>(k)][static_cast<std::size_t>(x)] =
            std::cos(3.14159265358979323846 / kSide * (x + 0.5) * k);
    }
    return t;
  }();
  std::array<std::array<double, kSide>, kLow> rows{};
  for (std::size_t k = 0; k < kLow; ++k) {
    for (std::size_t y = 0; y < kSide; ++y) {
      for (std::size_t x = 0; x < kSide; ++x) rows[k][y] += cosine[k][x] * v[y * kSide + x];
    }
  }
  std::array<double, kLow * kLow> low{};
  for (std::size_t j = 0; j < kLow; ++j) {
    for (std::size_t k = 0; k < kLow; ++k) {
      for (std::size_t y = 0; y < kSide; ++y) low[j * kLow + k] += cosine[j][y] * rows[k][y];
    }
  }
  std::array<double, kLow * kLow - 1> sorted{};
  std::copy(low.begin() + 1, low.end(), sorted.begin());
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
  std::uint64_t bits = 0;
  for (std::size_t i = 1; i < low.size(); ++i) bits |= std::uint64_t{low[i] > sorted[sorted.size() / 2]} << i;
  return bits;
}

/// Each value minus the mean of the 9×9 around it, scaled to length 1.
std::vector<float> details(const std::vector<double>& v, int side) {
  std::vector<double> d(v.size());
  double sum = 0;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      double around = 0;
      int count = 0;
      for (int dy = -4; dy <= 4; ++dy) {
        for (int dx = -4; dx <= 4; ++dx) {
          if (y + dy < 0 || y + dy >= side || x + dx < 0 || x + dx >= side) continue;
          around += v[static_cast<std::size_t>((y + dy) * side + x + dx)];
          ++count;
        }
      }
      const auto at = static_cast<std::size_t>(y * side + x);
      d[at] = v[at] - around / count;
      sum += d[at];
    }
  }
  double squares = 0;
  for (double& e : d) {
    e -= sum / static_cast<double>(d.size());
    squares += e * e;
  }
  // Less than a grey level of detail is rounding.
  if (squares < static_cast<double>(d.size())) return {};
  std::vector<float> out;
  out.reserve(d.size());
  for (const double e : d) out.push_back(static_cast<float>(e / std::sqrt(squares)));
  return out;
}

}  // namespace

Fingerprint fingerprint(const image::Image& picture) {
  image::check(picture, "fingerprint");
  Fingerprint out;
  out.pixels = str(picture.width, "x", picture.height, "x", picture.channels, ":", sha256(picture.pixels));
  if (picture.empty()) return out;
  const image::Image grey = image::to_grey(picture);
  out.hash = frequency_signs(thumbnail(grey, 32));
  out.detail = details(thumbnail(grey, 48), 48);
  return out;
}

std::vector<DuplicatePair> find_duplicates(const std::vector<Fingerprint>& pictures, int distance, double likeness) {
  const auto n = static_cast<std::int64_t>(pictures.size());
  std::vector<std::vector<DuplicatePair>> found(static_cast<std::size_t>(parallel_chunk_count(n, 64)));
  parallel_for(n, 64, [&](std::int64_t begin, std::int64_t end, int chunk) {
    for (std::int64_t a = begin; a < end; ++a) {
      const Fingerprint& pa = pictures[static_cast<std::size_t>(a)];
      if (pa.pixels.empty()) continue;
      for (std::int64_t b = a + 1; b < n; ++b) {
        const Fingerprint& pb = pictures[static_cast<std::size_t>(b)];
        if (std::popcount(pa.hash ^ pb.hash) > distance || pb.pixels.empty()) continue;
        if (pa.pixels == pb.pixels) {
          found[static_cast<std::size_t>(chunk)].push_back({a, b, true, 1});
          continue;
        }
        if (pa.detail.empty() || pb.detail.empty()) continue;
        double product = 0;
        for (std::size_t i = 0; i < pa.detail.size(); ++i)
          product += static_cast<double>(pa.detail[i]) * static_cast<double>(pb.detail[i]);
        if (product >= likeness) found[static_cast<std::size_t>(chunk)].push_back({a, b, false, product});
      }
    }
  });
  std::vector<DuplicatePair> out;
  for (const auto& part : found) out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace fovea::insight
