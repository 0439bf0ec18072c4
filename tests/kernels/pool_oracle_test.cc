// Pooling against an oracle written differently: windows are listed with their cells, the image's or the padding's, and
// what to do with a list is said in one line. Ties, NaN, infinities and signed zeros; the reference in f32 and f64 and
// every instruction set.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "agreement.h"
#include "core/dtype.h"
#include "kernels/cpu/simd/pool_raw.h"
#include "kernels/pool2d.h"

using namespace fovea;
using namespace fovea::kernels;
using namespace fovea::agreement;

namespace {

/// Along one axis: which input coordinates each window covers, by their place in the window; and how many places lie
/// within the padded image.
struct Window {
  std::map<int, std::int64_t> inside;
  int in_padded = 0;
};
std::vector<Window> windows(std::int64_t in, int before, int after, int size, int stride, bool ceil_mode) {
  std::vector<Window> all;
  for (std::int64_t start = -before;; start += stride) {
    // A whole window fits, or, in ceil mode, the one before left something over and this one begins on the image or
    // the padding before it.
    const bool whole = start + size <= in + after, left_over = start - stride + size < in + after;
    if (!whole && !(ceil_mode && left_over && start < in)) return all;
    Window w;
    for (int i = 0; i < size; ++i) {
      if (start + i >= 0 && start + i < in) w.inside[i] = start + i;
      w.in_padded += start + i < in + after;
    }
    all.push_back(w);
  }
}

struct Oracle {
  Shape shape;
  std::vector<double> y, dx;
  std::vector<std::int32_t> argmax;
};

Oracle oracle(const Pool2dParams& p, const Shape& xs, const std::vector<double>& x, const std::vector<double>& dy) {
  Padding pad = p.padding;
  bool include = p.count_include_pad;
  if (pad.rule == Padding::Rule::tf_same) {
    const auto both = [](std::int64_t in, int size, int stride) {
      const std::int64_t out = (in + stride - 1) / stride;
      return static_cast<int>(std::max<std::int64_t>(0, (out - 1) * stride + size - in));
    };
    const int v = both(xs[1], p.window.h, p.stride.h), h = both(xs[2], p.window.w, p.stride.w);
    pad = Padding::sides(v / 2, v - v / 2, h / 2, h - h / 2);
    include = false;
  }
  const auto rows = windows(xs[1], pad.top, pad.bottom, p.window.h, p.stride.h, p.ceil_mode),
             columns = windows(xs[2], pad.left, pad.right, p.window.w, p.stride.w, p.ceil_mode);
  Oracle o;
  o.shape = {xs[0], static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(columns.size()), xs[3]};
  o.dx.assign(x.size(), 0);
  for (std::int64_t n = 0; n < xs[0]; ++n) {
    for (const Window& r : rows) {
      for (const Window& s : columns) {
        for (std::int64_t c = 0; c < xs[3]; ++c) {
          struct Cell {
            int number;
            std::size_t at;
          };
          std::vector<Cell> cells;
          for (const auto& [i, row] : r.inside) {
            for (const auto& [j, column] : s.inside) {
              cells.push_back(
                  {i * p.window.w + j, static_cast<std::size_t>(((n * xs[1] + row) * xs[2] + column) * xs[3] + c)});
            }
          }
          const double gradient = dy[o.y.size()];
          if (p.kind == PoolKind::average) {
            double sum = 0;
            for (const Cell& cell : cells) sum += x[cell.at];
            const double count = include ? r.in_padded * s.in_padded : static_cast<double>(cells.size());
            o.y.push_back(sum / count);
            for (const Cell& cell : cells) o.dx[cell.at] += gradient / count;
            continue;
          }
          // The first NaN, or else the first of the greatest.
          auto best = std::find_if(cells.begin(), cells.end(), [&](const Cell& k) { return std::isnan(x[k.at]); });
          if (best == cells.end()) {
            best = std::max_element(cells.begin(), cells.end(),
                                    [&](const Cell& a, const Cell& b) { return x[a.at] < x[b.at]; });
          }
          o.y.push_back(x[best->at]);
          o.argmax.push_back(best->number);
          o.dx[best->at] += gradient;
        }
      }
    }
  }
  return o;
}

bool same(double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

enum class Content { ties, distinct, special };

struct Case {
  Pool2dParams params;
  Shape x;
  Content content;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const Shape shapes[] = {{2, 7, 5, 3}, {1, 6, 9, 17}, {1, 1, 1, 1}, {2, 4, 3, 33}, {1, 3, 8, 8}, {3, 2, 2, 5}};
  const Padding paddings[] = {Padding::valid(), Padding::sides(0, 1, 0, 1), Padding::sides(1, 0, 1, 1),
                              Padding::tf_same()};
  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    for (const Size2 window : {Size2{1, 1}, Size2{2, 2}, Size2{3, 3}, Size2{2, 3}, Size2{5, 4}}) {
      for (const Size2 stride : {Size2{1, 1}, Size2{2, 2}, Size2{3, 1}, Size2{2, 3}}) {
        for (const Padding& padding : paddings) {
          for (const bool ceil_mode : {false, true}) {
            const std::size_t i = all.size();
            all.push_back({{kind, window, stride, padding, i % 3 == 0, ceil_mode},
                           shapes[(i / 2 + i / 8) % std::size(shapes)],
                           static_cast<Content>(i % 3)});
          }
        }
      }
    }
  }
  return all;
}

std::vector<double> values(const Case& c, std::uint64_t index) {
  Rng rng(2, "pool", index);
  std::vector<double> x(static_cast<std::size_t>(c.x.numel()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = c.content == Content::distinct ? static_cast<double>(static_cast<float>(rng.uniform(-1, 1)))
                                          : static_cast<double>(rng.below(3)) - 1;
    if (c.content == Content::special && c.params.kind == PoolKind::max) {
      const double special[] = {NAN, -INFINITY, INFINITY, -0.0, 0.0, -INFINITY, -INFINITY, -1};
      x[i] = special[rng.below(8)];
    }
  }
  return x;
}

template <class T>
void check(const Case& c, std::uint64_t index, const std::string& path) {
  try {
    pool2d_shape(c.params, c.x);
  } catch (const Error&) {
    return;  // the window does not fit, or the padding is as large as it
  }
  const std::vector<double> x = values(c, index);
  Guarded<T> in(c.x), out(pool2d_shape(c.params, c.x)), alone(out.shape()), dy(out.shape()), dx(c.x);
  Guarded<std::int32_t> argmax(out.shape());
  std::copy(x.begin(), x.end(), in.data());
  Rng rng(3, "pool gradient", index);
  dy.fill_uniform(rng);
  const Oracle want = oracle(c.params, c.x, x, std::vector<double>(dy.data(), dy.data() + dy.size()));
  INFO((c.params.kind == PoolKind::max ? "max " : "average ")
       << c.x.to_string() << " window " << c.params.window.h << "×" << c.params.window.w << " stride "
       << c.params.stride.h << "×" << c.params.stride.w << " padding " << c.params.padding.top
       << c.params.padding.bottom << c.params.padding.left << c.params.padding.right << " include "
       << c.params.count_include_pad << " ceil " << c.params.ceil_mode << " content " << static_cast<int>(c.content));
  REQUIRE(out.shape() == want.shape);
  on_targets(path, [&] {
    const ForceImplementation force(path, true);
    const bool max = c.params.kind == PoolKind::max;
    out.poison(), alone.poison(), dx.poison(), argmax.poison();
    const auto where = [&] { return max ? std::optional<View>(argmax.view()) : std::nullopt; };
    pool2d_forward(c.params, in, out.view(), where());
    pool2d_forward(c.params, in, alone.view(), std::nullopt);
    pool2d_backward(c.params, dy, max ? std::optional<ConstView>(argmax.cview()) : std::nullopt, dx.view());
    bool right = true, right_alone = true, right_where = true, right_gradient = true;
    // At most 20 terms of at most 1 each.
    const double bound = max ? 0 : 20 * (sizeof(T) == 4 ? kEpsilon : 0x1p-52);
    for (std::size_t i = 0; i < want.y.size(); ++i) {
      const auto k = static_cast<std::int64_t>(i);
      right = right && (same(out[k], want.y[i]) || std::fabs(out[k] - want.y[i]) <= bound);
      right_alone = right_alone && same(out[k], alone[k]);
      if (max) right_where = right_where && argmax[k] == want.argmax[i];
    }
    for (std::size_t i = 0; i < want.dx.size(); ++i) {
      const double error = std::fabs(dx[static_cast<std::int64_t>(i)] - want.dx[i]);
      right_gradient = right_gradient && error <= 20 * (sizeof(T) == 4 ? kEpsilon : 0x1p-52);
    }
    CHECK(right);
    CHECK(right_alone);
    CHECK(right_where);
    CHECK(right_gradient);
    CHECK((out.margins_intact() && alone.margins_intact() && dx.margins_intact() && argmax.margins_intact()));
  });
}

/// What compiled inference uses: bf16, with room between the result's pixels. Contents that bf16 holds exactly.
void check_bf16(const Case& c, std::uint64_t index) {
  if (c.content == Content::distinct) return;
  try {
    pool2d_shape(c.params, c.x);
  } catch (const Error&) {
    return;
  }
  const Pool2dParams p = resolve_pool2d(c.params, c.x);
  const std::vector<double> x = values(c, index);
  const Oracle want =
      oracle(c.params, c.x, x, std::vector<double>(static_cast<std::size_t>(pool2d_shape(c.params, c.x).numel())));
  std::vector<std::uint16_t> in(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) in[i] = bf16(static_cast<float>(x[i])).bits;
  const std::int64_t channels = c.x[3], pitch = channels + 3, pixels = want.shape.numel() / channels;
  simd::PoolShape shape = simd::pool_shape(p, c.x, want.shape);
  shape.y_pitch = pitch;
  INFO("bf16 " << c.x.to_string() << " window " << p.window.h << "×" << p.window.w << " case " << index);
  on_targets("simd", [&] {
    std::vector<std::uint16_t> out(static_cast<std::size_t>(pixels * pitch), 0x1234);
    simd::pool_forward(shape, simd::Element::bf16, in.data(), out.data(), 0, c.x[0] * want.shape[1]);
    bool right = true, room = true;
    for (std::int64_t i = 0; i < pixels; ++i) {
      for (std::int64_t k = 0; k < pitch; ++k) {
        const std::uint16_t bits = out[static_cast<std::size_t>(i * pitch + k)];
        if (k >= channels) {
          room = room && bits == 0x1234;
          continue;
        }
        const double y = want.y[static_cast<std::size_t>(i * channels + k)];
        const auto got = static_cast<double>(std::bit_cast<float>(std::uint32_t{bits} << 16));
        right = right && (same(got, y) || std::fabs(got - y) <= (p.kind == PoolKind::max ? 0 : std::fabs(y) / 256));
      }
    }
    CHECK(right);
    CHECK(room);
  });
}

}  // namespace

TEST_CASE("reference pooling equals the list of cells, with ties, NaN and infinities", "[reference]") {
  std::uint64_t index = 0;
  for (const Case& c : cases()) {
    check<double>(c, index, "reference");
    check<float>(c, index++, "reference");
  }
}
TEST_CASE("simd pooling equals the list of cells, with ties, NaN and infinities", "[simd]") {
  std::uint64_t index = 0;
  for (const Case& c : cases()) check<float>(c, index++, "simd");
}
TEST_CASE("simd pooling on bf16 equals the list of cells, rounded", "[simd]") {
  std::uint64_t index = 0;
  for (const Case& c : cases()) check_bf16(c, index++);
}

TEST_CASE("simd global average pooling equals long double means over odd sizes", "[simd]") {
  on_targets("simd", [] {
    for (const std::int64_t channels : {1, 3, 4, 15, 16, 17, 67}) {
      for (const Size2 size : {Size2{1, 1}, Size2{1, 3}, Size2{2, 2}, Size2{5, 1}, Size2{3, 3}, Size2{7, 9}}) {
        const Shape xs{3, size.h, size.w, channels}, ys{3, channels};
        const std::int64_t pixels = size.h * size.w;
        Floats x(xs, 1), y(ys), dy(ys), dx(xs, 1);
        Rng rng(9, "global", static_cast<std::uint64_t>(channels * 100 + pixels));
        x.fill_uniform(rng, 1, 3);
        dy.fill_uniform(rng);
        {
          const ForceImplementation force("simd", true);
          global_average_pool_forward(x, y.view());
          global_average_pool_backward(dy, dx.view());
        }
        bool right = true;
        for (std::int64_t n = 0; n < 3; ++n) {
          for (std::int64_t c = 0; c < channels; ++c) {
            long double mean = 0;
            for (std::int64_t i = 0; i < pixels; ++i) {
              mean += x[(n * pixels + i) * channels + c] / static_cast<long double>(pixels);
              const double share = dy[n * channels + c] / static_cast<double>(pixels);
              right = right && std::fabs(dx[(n * pixels + i) * channels + c] - share) <= std::fabs(share) * kEpsilon;
            }
            // Sums of quarters: an error of pixels/8 + 3 half places of numbers up to 3·pixels.
            const double allowed = (static_cast<double>(pixels) / 8 + 3) * kEpsilon / 2 * 3;
            right = right && std::fabs(static_cast<double>(y[n * channels + c] - mean)) <= allowed;
          }
        }
        INFO(xs.to_string());
        CHECK(right);
        CHECK((y.margins_intact() && dx.margins_intact() && x.margins_intact()));
      }
    }
  });
}
