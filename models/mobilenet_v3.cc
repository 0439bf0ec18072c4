// MobileNetV3 small and large (Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2), any width. k kernel,
// exp channels inside the block, c channels (both times width), SE squeeze and excite to a quarter of exp with
// hard-sigmoid, NL ReLU or hard-swish, s stride.
//
//   large                                        small
//   stem      conv 3×3 s2  16          HS        stem      conv 3×3 s2  16          HS
//              k  exp    c  SE  NL  s                       k  exp    c  SE  NL  s
//   block_0    3   16   16   –  RE  1            block_0    3   16   16   ✓  RE  2
//   block_1    3   64   24   –  RE  2            block_1    3   72   24   –  RE  2
//   block_2    3   72   24   –  RE  1            block_2    3   88   24   –  RE  1
//   block_3    5   72   40   ✓  RE  2            block_3    5   96   40   ✓  HS  2
//   block_4    5  120   40   ✓  RE  1            block_4    5  240   40   ✓  HS  1
//   block_5    5  120   40   ✓  RE  1            block_5    5  240   40   ✓  HS  1
//   block_6    3  240   80   –  HS  2            block_6    5  120   48   ✓  HS  1
//   block_7    3  200   80   –  HS  1            block_7    5  144   48   ✓  HS  1
//   block_8    3  184   80   –  HS  1            block_8    5  288   96   ✓  HS  2
//   block_9    3  184   80   –  HS  1            block_9    5  576   96   ✓  HS  1
//   block_10   3  480  112   ✓  HS  1            block_10   5  576   96   ✓  HS  1
//   block_11   3  672  112   ✓  HS  1            head      conv 1×1    576          HS
//   block_12   5  672  160   ✓  HS  2            pool
//   block_13   5  960  160   ✓  HS  1            hidden    dense      1024          HS
//   block_14   5  960  160   ✓  HS  1            dropout, classifier
//   head      conv 1×1    960          HS
//   pool
//   hidden    dense      1280          HS
//   dropout, classifier
#include "models/mobilenet_v3.h"

#include <cmath>
#include <span>

#include "models/blocks.h"

namespace fovea::models {
namespace {

struct Row {
  int kernel, expanded, channels;
  bool excite, hard_swish;
  int stride, stage;
};
constexpr bool RE = false, HS = true;
constexpr Row kSmall[] = {{3, 16, 16, true, RE, 2, 0},  {3, 72, 24, false, RE, 2, 1}, {3, 88, 24, false, RE, 1, 1},
                          {5, 96, 40, true, HS, 2, 2},  {5, 240, 40, true, HS, 1, 2}, {5, 240, 40, true, HS, 1, 2},
                          {5, 120, 48, true, HS, 1, 3}, {5, 144, 48, true, HS, 1, 3}, {5, 288, 96, true, HS, 2, 4},
                          {5, 576, 96, true, HS, 1, 4}, {5, 576, 96, true, HS, 1, 4}};
constexpr Row kLarge[] = {{3, 16, 16, false, RE, 1, 0},  {3, 64, 24, false, RE, 2, 1},  {3, 72, 24, false, RE, 1, 1},
                          {5, 72, 40, true, RE, 2, 2},   {5, 120, 40, true, RE, 1, 2},  {5, 120, 40, true, RE, 1, 2},
                          {3, 240, 80, false, HS, 2, 3}, {3, 200, 80, false, HS, 1, 3}, {3, 184, 80, false, HS, 1, 3},
                          {3, 184, 80, false, HS, 1, 3}, {3, 480, 112, true, HS, 1, 4}, {3, 672, 112, true, HS, 1, 4},
                          {5, 672, 160, true, HS, 2, 5}, {5, 960, 160, true, HS, 1, 5}, {5, 960, 160, true, HS, 1, 5}};

/// The frameworks agree at width 1. Elsewhere torchvision scales the paper's inner channels, the others multiply the
/// scaled outer channels by the paper's ratio, which timm gives with two decimals (3.67 for 88/24).
int expanded_channels(const Row& row, int in, int base_in, const Options& o) {
  if (o.layout == Layout::torchvision) return make_divisible(row.expanded * o.width);
  const double ratio = static_cast<double>(row.expanded) / base_in;
  return make_divisible(in * (o.layout == Layout::timm ? std::round(ratio * 100) / 100 : ratio));
}

int stem_channels(const Options& o) {
  const bool fixed = o.layout == Layout::keras || (o.layout == Layout::timm && o.width < 0.75);
  return fixed ? 16 : make_divisible(16 * o.width);
}

int hidden_channels(int base, const Options& o) {
  if (o.layout == Layout::timm) return base;
  if (o.layout == Layout::torchvision) return make_divisible(base * o.width);
  return o.width > 1 ? make_divisible(base * o.width) : base;
}

Conventions own_conventions(const Options& o) {
  Conventions c = conventions(o);
  if (o.layout == Layout::torchvision) {
    c.norm.epsilon = 1e-3;
    c.norm.momentum = 0.01;
  } else if (o.layout == Layout::keras) {
    c.norm.momentum = 0.001;
  }
  return c;
}

image::Preprocessing own_preprocessing(const Options& o) {
  image::Preprocessing p = preprocessing(o, o.image_size);
  if (o.layout == Layout::keras && o.variant.empty()) {  // the network rescales
    p.scale = 1;
    p.mean = {0, 0, 0};
  }
  if (o.layout == Layout::timm && o.variant == "tf") p.filter = image::Filter::bilinear;
  return p;
}

}  // namespace

MobileNetV3Sizes mobilenet_v3_sizes(const Architecture& a, const Options& o) {
  const bool large = a.scale != 0;
  const std::span<const Row> rows = large ? std::span<const Row>(kLarge) : std::span<const Row>(kSmall);
  MobileNetV3Sizes sizes;
  sizes.stem = stem_channels(o);
  int in = sizes.stem, base_in = 16;
  for (const Row& row : rows) {
    MobileNetV3Block block;
    block.kernel = row.kernel;
    block.stride = row.stride;
    block.in = in;
    block.expanded = expanded_channels(row, in, base_in, o);
    block.out = make_divisible(row.channels * o.width);
    const bool first = sizes.blocks.empty();
    block.expand = o.layout == Layout::torchvision ? block.expanded != in : !first;
    if (!block.expand) block.expanded = in;
    if (row.excite) block.squeezed = make_divisible(block.expanded / 4.0);
    block.hard_swish = row.hard_swish;
    block.stage = row.stage;
    in = block.out;
    base_in = row.channels;
    sizes.blocks.push_back(block);
  }
  const int base_head = 6 * base_in;
  const bool of_base = o.layout == Layout::timm || o.layout == Layout::tfslim;
  sizes.head = of_base ? make_divisible(base_head * o.width) : 6 * in;
  sizes.hidden = hidden_channels(large ? 1280 : 1024, o);
  return sizes;
}

Model mobilenet_v3(const Architecture& a, const Options& o) {
  const Conventions c = own_conventions(o);
  const MobileNetV3Sizes sizes = mobilenet_v3_sizes(a, o);
  constexpr ActivationParams kHardSwish = {Activation::hard_swish};
  Sequential net;
  if (o.layout == Layout::keras && o.variant.empty()) net.add("rescaling", Rescale(1 / 127.5, -1));
  net.add("stem", conv_bn(o.channels, sizes.stem, {.kernel = 3, .stride = 2, .activation = kHardSwish}, c));
  int number = 0;
  for (const MobileNetV3Block& b : sizes.blocks) {
    net.add(str("block_", number++),
            InvertedResidual({.in = b.in,
                              .expanded = b.expanded,
                              .out = b.out,
                              .kernel = b.kernel,
                              .stride = b.stride,
                              .squeezed = b.squeezed,
                              .expand = b.expand,
                              .activation = {b.hard_swish ? Activation::hard_swish : Activation::relu},
                              .excite = {.activation = {Activation::relu}, .gate = {Activation::hard_sigmoid}}},
                             c));
  }
  net.add("head", conv_bn(sizes.blocks.back().out, sizes.head, {.activation = kHardSwish}, c));
  if (o.top != Top::none) {
    net.add("pool", GlobalAveragePool());
    net.add("hidden", Dense(sizes.head, sizes.hidden, {.activation = kHardSwish}));
  }
  if (o.top == Top::classifier) {
    net.add("dropout", Dropout(0.2));
    net.add("classifier", Dense(sizes.hidden, o.classes));
  }
  Model model(std::move(net));
  model.preprocessing = own_preprocessing(o);
  return model;
}

}  // namespace fovea::models
