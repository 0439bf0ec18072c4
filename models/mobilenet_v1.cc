// MobileNetV1 (Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
// Applications", table 1), any width and depth. A block is a depthwise 3×3 convolution and a pointwise one, each with
// batch norm and ReLU6; c channels (times width), n repeats (times depth), s stride of the first repeat.
//
//   stem      conv 3×3 s2   32
//               c   n  s
//   block_0    64   1  1     112×112 of a 224×224 picture
//   block_1…  128   2  2      56×56
//             256   2  2      28×28
//             512   6  2      14×14
//            1024   2  2       7×7
//   pool, dropout, classifier
#include "models/mobilenet_v1.h"

#include <algorithm>
#include <cmath>

#include "models/blocks.h"

namespace fovea::models {
namespace {

struct Row {
  int channels, repeats, stride;
};
constexpr Row kRows[] = {{64, 1, 1}, {128, 2, 2}, {256, 2, 2}, {512, 6, 2}, {1024, 2, 2}};

/// timm rounds to multiples of 8, the others cut off fractions; Keras has no smallest number of channels.
int scaled(int channels, const Options& o) {
  const double wanted = channels * o.width;
  if (o.layout == Layout::timm) return make_divisible(wanted);
  return std::max(static_cast<int>(wanted), o.layout == Layout::keras ? 1 : 8);
}

/// Keras pads its strided depthwise convolutions at the bottom and right whatever the size of the map: where that is
/// odd, TensorFlow's "same" padding would give another result.
std::optional<Padding> depthwise_padding(int stride, const Options& o) {
  if (o.layout == Layout::keras && stride == 2) return Padding::sides(0, 1, 0, 1);
  return std::nullopt;
}

}  // namespace

std::vector<int> mobilenet_v1_repeats(const Options& o) {
  std::vector<int> repeats;
  for (const Row& row : kRows) repeats.push_back(static_cast<int>(std::ceil(row.repeats * o.depth)));
  return repeats;
}

Model mobilenet_v1(const Architecture&, const Options& o) {
  Conventions c = conventions(o);
  if (o.layout == Layout::tfslim || o.layout == Layout::huggingface) c.norm.momentum = 0.0003;  // decay 0.9997
  Sequential net;
  int in = scaled(32, o);
  net.add("stem", conv_bn(o.channels, in, {.kernel = 3, .stride = 2}, c));
  const std::vector<int> repeats = mobilenet_v1_repeats(o);
  int number = 0;
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    const int out = scaled(kRows[i].channels, o);
    for (int r = 0; r < repeats[i]; ++r) {
      const int stride = r == 0 ? kRows[i].stride : 1;
      Sequential block;
      block.add(
          "depthwise",
          conv_bn(in, in, {.kernel = 3, .stride = stride, .groups = in, .padding = depthwise_padding(stride, o)}, c));
      block.add("pointwise", conv_bn(in, out, {}, c));
      net.add(str("block_", number++), std::move(block));
      in = out;
    }
  }
  add_top(net, in, o.layout == Layout::timm ? 0.2 : 0.001, o);
  Model model(std::move(net));
  model.preprocessing = preprocessing(o, o.image_size);
  // timm's weights were trained with the mean and deviation of TensorFlow's.
  if (o.layout == Layout::timm) model.preprocessing.mean = model.preprocessing.std = {0.5f, 0.5f, 0.5f};
  return model;
}

}  // namespace fovea::models
