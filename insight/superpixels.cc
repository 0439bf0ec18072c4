#include "insight/superpixels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "insight/color_internal.h"

namespace fovea::insight {
namespace {

struct Center {
  double l = 0, a = 0, b = 0, x = 0, y = 0;
};

class Slic {
 public:
  Slic(const image::Image& picture, const SlicOptions& options)
      : width_(picture.width), height_(picture.height), options_(options) {
    const image::Image rgb = image::to_rgb(picture);
    lab_.resize(static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_));
    for (std::size_t p = 0; p < lab_.size(); ++p) {
      const std::uint8_t* c = rgb.pixels.data() + 3 * p;
      lab_[p] = cielab({c[0] / 255.0, c[1] / 255.0, c[2] / 255.0});
    }
    step_ = std::max(1.0, std::sqrt(static_cast<double>(lab_.size()) / options.segments));
  }

  std::vector<std::int32_t> run() {
    place_centers();
    labels_.assign(lab_.size(), -1);
    for (int i = 0; i < options_.iterations; ++i) {
      assign();
      move_centers();
    }
    if (options_.iterations == 0) assign();
    return connected();
  }

 private:
  std::size_t at(int x, int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x);
  }
  const std::array<double, 3>& lab(int x, int y) const {
    return lab_[at(std::clamp(x, 0, width_ - 1), std::clamp(y, 0, height_ - 1))];
  }
  double edge(int x, int y) const {
    double sum = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      const double dx = lab(x + 1, y)[c] - lab(x - 1, y)[c], dy = lab(x, y + 1)[c] - lab(x, y - 1)[c];
      sum += dx * dx + dy * dy;
    }
    return sum;
  }

  /// A grid of about `segments` cells, each centre moved off edges within its 3×3 neighbourhood.
  void place_centers() {
    const int columns = std::max(1, static_cast<int>(std::lround(width_ / step_)));
    const int rows = std::max(1, static_cast<int>(std::lround(height_ / step_)));
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        const int x0 = std::min(width_ - 1, static_cast<int>((c + 0.5) * width_ / columns));
        const int y0 = std::min(height_ - 1, static_cast<int>((r + 0.5) * height_ / rows));
        int x = x0, y = y0;
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            const int nx = x0 + dx, ny = y0 + dy;
            if (nx < 0 || ny < 0 || nx >= width_ || ny >= height_) continue;
            if (edge(nx, ny) < edge(x, y)) {
              x = nx;
              y = ny;
            }
          }
        }
        const auto& v = lab(x, y);
        centers_.push_back({v[0], v[1], v[2], static_cast<double>(x), static_cast<double>(y)});
      }
    }
  }

  void assign() {
    std::vector<double> best(lab_.size(), std::numeric_limits<double>::infinity());
    const double spatial = options_.compactness * options_.compactness / (step_ * step_);
    const int reach = static_cast<int>(std::ceil(step_ * 1.5));  // the cells of a grid that does not divide are larger
    for (std::size_t k = 0; k < centers_.size(); ++k) {
      const Center& c = centers_[k];
      const int x0 = std::max(0, static_cast<int>(c.x) - reach),
                x1 = std::min(width_ - 1, static_cast<int>(c.x) + reach);
      const int y0 = std::max(0, static_cast<int>(c.y) - reach),
                y1 = std::min(height_ - 1, static_cast<int>(c.y) + reach);
      for (int y = y0; y <= y1; ++y) {
        for (int x = x0; x <= x1; ++x) {
          const std::size_t p = at(x, y);
          const double dl = lab_[p][0] - c.l, da = lab_[p][1] - c.a, db = lab_[p][2] - c.b;
          const double dx = x - c.x, dy = y - c.y;
          const double d = dl * dl + da * da + db * db + spatial * (dx * dx + dy * dy);
          if (d < best[p]) {
            best[p] = d;
            labels_[p] = static_cast<std::int32_t>(k);
          }
        }
      }
    }
  }

  void move_centers() {
    std::vector<Center> sums(centers_.size());
    std::vector<double> counts(centers_.size(), 0.0);
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        const std::size_t p = at(x, y);
        if (labels_[p] < 0) continue;
        const auto k = static_cast<std::size_t>(labels_[p]);
        sums[k].l += lab_[p][0];
        sums[k].a += lab_[p][1];
        sums[k].b += lab_[p][2];
        sums[k].x += x;
        sums[k].y += y;
        counts[k] += 1;
      }
    }
    for (std::size_t k = 0; k < centers_.size(); ++k) {
      if (counts[k] == 0) continue;
      const double n = counts[k];
      centers_[k] = {sums[k].l / n, sums[k].a / n, sums[k].b / n, sums[k].x / n, sums[k].y / n};
    }
  }

  /// Relabels connected parts in reading order; one that is too small joins the part before it.
  std::vector<std::int32_t> connected() {
    std::vector<std::int32_t> out(lab_.size(), -1);
    const double smallest = static_cast<double>(lab_.size()) / static_cast<double>(centers_.size()) / 4;
    std::int32_t next = 0;
    std::vector<std::size_t> part;
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        const std::size_t begin = at(x, y);
        if (out[begin] >= 0) continue;
        std::int32_t neighbour = -1;
        if (x > 0) neighbour = out[begin - 1];
        if (neighbour < 0 && y > 0) neighbour = out[begin - static_cast<std::size_t>(width_)];
        part.assign(1, begin);
        out[begin] = next;
        for (std::size_t i = 0; i < part.size(); ++i) {
          const std::size_t p = part[i];
          const int px = static_cast<int>(p % static_cast<std::size_t>(width_)),
                    py = static_cast<int>(p / static_cast<std::size_t>(width_));
          const auto visit = [&](int nx, int ny) {
            if (nx < 0 || ny < 0 || nx >= width_ || ny >= height_) return;
            const std::size_t n = at(nx, ny);
            if (out[n] >= 0 || labels_[n] != labels_[begin]) return;
            out[n] = next;
            part.push_back(n);
          };
          visit(px - 1, py);
          visit(px + 1, py);
          visit(px, py - 1);
          visit(px, py + 1);
        }
        if (static_cast<double>(part.size()) < smallest && neighbour >= 0) {
          for (const std::size_t p : part) out[p] = neighbour;
        } else {
          ++next;
        }
      }
    }
    return out;
  }

  int width_, height_;
  SlicOptions options_;
  double step_ = 1;
  std::vector<std::array<double, 3>> lab_;
  std::vector<Center> centers_;
  std::vector<std::int32_t> labels_;
};

}  // namespace

Tensor slic(const image::Image& picture, const SlicOptions& options) {
  image::check(picture, "slic");
  if (picture.empty()) throw Error(ErrorKind::usage, "slic", "the picture is empty");
  if (options.segments < 1 || !(options.compactness > 0) || options.iterations < 0) {
    throw Error(ErrorKind::usage, "slic",
                str("expected segments of at least 1, a compactness above 0 and iterations of at least 0, got ",
                    options.segments, ", ", options.compactness, " and ", options.iterations));
  }
  return Tensor::from(Shape{picture.height, picture.width}, Slic(picture, options).run());
}

}  // namespace fovea::insight
