// MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2), any width and
// depth. t expands, c channels (times width), n repeats (times depth), s stride of the first repeat; kernels are 3×3.
//
//   stem      conv 3×3 s2      32
//             t   c    n  s
//   block_0   1   16   1  1     112×112 of a 224×224 picture
//   block_1…  6   24   2  2      56×56
//             6   32   3  2      28×28
//             6   64   4  2      14×14
//             6   96   3  1
//             6  160   3  2       7×7
//             6  320   1  1
//   head      conv 1×1       1280  (times width where width > 1)
//   pool, dropout, classifier
//
// mobilenet_v2_110d and _120d (timm) scale width and depth, and keep stem, head and the single blocks as they are.
#include <algorithm>
#include <cmath>

#include "models/blocks.h"
#include "models/mobilenet_v2.h"

namespace fovea::models {
namespace {

struct Row {
  int expansion, channels, repeats, stride;
};
constexpr Row kRows[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                         {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

/// timm's 110d and 120d: `scale` of their rows in the zoo's table.
bool fixed_ends(const Architecture& a) { return a.scale != 0; }

/// The frameworks agree but for where they cut off fractions: Keras takes int(channels·width) first.
int scaled(double channels, const Options& o) {
  const double wanted = channels * o.width;
  return make_divisible(o.layout == Layout::keras ? std::floor(wanted) : wanted);
}

}  // namespace

std::vector<int> mobilenet_v2_repeats(const Architecture& a, const Options& o) {
  std::vector<int> repeats;
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    const bool end = i == 0 || i + 1 == std::size(kRows);
    const bool keep = end && fixed_ends(a);
    repeats.push_back(keep ? kRows[i].repeats : static_cast<int>(std::ceil(kRows[i].repeats * o.depth - 1e-9)));
  }
  return repeats;
}

Model mobilenet_v2(const Architecture& a, const Options& o) {
  const Conventions c = conventions(o);
  const bool fixed = fixed_ends(a);
  Sequential net;
  int in = fixed ? 32 : o.layout == Layout::keras ? make_divisible(32 * o.width) : scaled(32, o);
  net.add("stem", conv_bn(o.channels, in, {.kernel = 3, .stride = 2}, c));
  const std::vector<int> repeats = mobilenet_v2_repeats(a, o);
  int number = 0;
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    const int out = scaled(kRows[i].channels, o);
    for (int r = 0; r < repeats[i]; ++r) {
      net.add(str("block_", number++), InvertedResidual({.in = in,
                                                         .expanded = in * kRows[i].expansion,
                                                         .out = out,
                                                         .stride = r == 0 ? kRows[i].stride : 1,
                                                         .expand = kRows[i].expansion != 1},
                                                        c));
      in = out;
    }
  }
  const int features = fixed ? 1280 : make_divisible(1280 * std::max(1.0, o.width));
  net.add("head", conv_bn(in, features, {}, c));
  add_top(net, features, 0.2, o);
  Model model(std::move(net));
  model.preprocessing = preprocessing(o, o.image_size);
  return model;
}

}  // namespace fovea::models
