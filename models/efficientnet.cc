// EfficientNet (Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", table 1)
// of any size, by compound scaling of B0, and EfficientNet-Lite (Liu 2020, github.com/tensorflow/tpu,
// models/official/efficientnet/lite). A block expands t-fold, convolves each channel k×k, squeezes and excites to a
// quarter of its input's channels, and projects to c channels (times width, to multiples of 8); n repeats (times depth,
// rounded up), s stride of the first repeat. SiLU.
//
//   stem      conv 3×3 s2      32
//             t  k    c   n  s
//   block_0   1  3   16   1  1     112×112 of a 224×224 picture
//   block_1…  6  3   24   2  2      56×56
//             6  5   40   2  2      28×28
//             6  3   80   3  2      14×14
//             6  5  112   3  1
//             6  5  192   4  2       7×7
//             6  3  320   1  1
//   head      conv 1×1       1280
//   pool, dropout, classifier
//
//          B0   B1   B2   B3   B4   B5   B6   B7    any phi               Lite0 Lite1 Lite2 Lite3 Lite4
//   width  1    1    1.1  1.2  1.4  1.6  1.8  2     1.1^phi               1     1     1.1   1.2   1.4
//   depth  1    1.1  1.2  1.4  1.8  2.2  2.6  3.1   1.2^phi               1     1.1   1.2   1.4   1.8
//   size   224  240  260  300  380  456  528  600   224·1.15^phi, to 8    224   240   260   280   300
//
// Lite has ReLU6 and no squeeze and excite; its stem and head keep their channels and its first and last stage their
// repeats.
#include "models/efficientnet.h"

#include <algorithm>
#include <cmath>

#include "models/blocks.h"

namespace fovea::models {
namespace {

struct Row {
  int expansion, kernel, channels, repeats, stride;
};
constexpr Row kRows[] = {{1, 3, 16, 1, 1},  {6, 3, 24, 2, 2},  {6, 5, 40, 2, 2}, {6, 3, 80, 3, 2},
                         {6, 5, 112, 3, 1}, {6, 5, 192, 4, 2}, {6, 3, 320, 1, 1}};

constexpr EfficientNetSize kB[] = {{"efficientnet_b0", 1.0, 1.0, 224, 0.2}, {"efficientnet_b1", 1.0, 1.1, 240, 0.2},
                                   {"efficientnet_b2", 1.1, 1.2, 260, 0.3}, {"efficientnet_b3", 1.2, 1.4, 300, 0.3},
                                   {"efficientnet_b4", 1.4, 1.8, 380, 0.4}, {"efficientnet_b5", 1.6, 2.2, 456, 0.4},
                                   {"efficientnet_b6", 1.8, 2.6, 528, 0.5}, {"efficientnet_b7", 2.0, 3.1, 600, 0.5}};
constexpr EfficientNetSize kLite[] = {{"efficientnet_lite0", 1.0, 1.0, 224, 0.2},
                                      {"efficientnet_lite1", 1.0, 1.1, 240, 0.2},
                                      {"efficientnet_lite2", 1.1, 1.2, 260, 0.3},
                                      {"efficientnet_lite3", 1.2, 1.4, 280, 0.3},
                                      {"efficientnet_lite4", 1.4, 1.8, 300, 0.3}};

double dropout_of(const Architecture& a, bool lite) {
  if (a.scale == kEfficientNetAnySize) return 0.2;
  return (lite ? kLite : kB)[a.scale].dropout;
}

Conventions own_conventions(const Architecture& a, const Options& o) {
  Conventions c = conventions(o);
  // torchvision took B5 to B7 from a port of TensorFlow's weights, B0 to B4 from timm.
  if (o.layout == Layout::torchvision && a.scale >= 5) {
    c.norm.epsilon = 1e-3;
    c.norm.momentum = 0.01;
  }
  if (o.layout == Layout::huggingface) c.norm.momentum = 0.01;  // "momentum=0.99" there means PyTorch's 1 − 0.99
  return c;
}

/// Hugging Face's padding does not follow the picture: it is TensorFlow's "same" for a picture of the published size.
/// `odd`: whether the map there has an odd number of rows.
std::optional<Padding> fixed_padding(const Options& o, int kernel, int stride, bool odd) {
  if (o.layout != Layout::huggingface || stride != 2) return std::nullopt;
  const int after = kernel / 2, before = odd ? after : after - 1;
  return Padding::sides(before, after, before, after);
}

// What the sources' documentation and configurations say of preprocessing, by size.
constexpr int kTorchvisionResize[] = {256, 255, 288, 320, 384, 456, 528, 600};
constexpr int kTorchvisionSize[] = {224, 240, 288, 300, 380, 456, 528, 600};
constexpr int kTimmSize[] = {224, 240, 256, 288, 320, 448, 528, 600};
constexpr double kTimmCrop[] = {0.875, 0.9, 0.875, 0.875, 0.875, 1.0, 0.942, 0.949};
constexpr double kTimmTfCrop[] = {0.875, 0.882, 0.890, 0.904, 0.922, 0.934, 0.942, 0.949};
constexpr int kTimmLiteSize[] = {224, 240, 260, 300, 380};
constexpr double kTimmLiteCrop[] = {0.875, 0.882, 0.890, 0.904, 0.920};

void as_timm(image::Preprocessing& p, int n, const Options& o, bool lite) {
  const bool tf = o.variant == "tf";
  const double crop = lite ? kTimmLiteCrop[n] : tf ? kTimmTfCrop[n] : kTimmCrop[n];
  p.resize_size = static_cast<int>(o.image_size / crop);
  if (tf && !lite) {  // unlike timm's other tf_ models
    p.mean = image::Preprocessing().mean;
    p.std = image::Preprocessing().std;
  }
  if (tf || lite) {
    if (tf && lite && n >= 3) p.filter = image::Filter::bilinear;
    return;
  }
  if (n == 1) p.mean = p.std = {0.5f, 0.5f, 0.5f};
  if (n == 5) p.rule = image::ResizeRule::stretch;
}

image::Preprocessing own_preprocessing(const Architecture& a, const Options& o, bool lite) {
  const int size = o.image_size, n = std::max(a.scale, 0);
  image::Preprocessing p = preprocessing(o, size);
  switch (*o.layout) {
    case Layout::torchvision:
      p.filter = n == 1 ? image::Filter::bilinear : image::Filter::bicubic;
      p.resize_size =
          static_cast<int>(std::lround(static_cast<double>(size) * kTorchvisionResize[n] / kTorchvisionSize[n]));
      break;
    case Layout::timm: as_timm(p, n, o, lite); break;
    case Layout::lukemelas:
      p.resize_size = size;
      if (lite) {  // as TensorFlow's: (x − 127)/128, and 32 pixels more around the crop
        p.resize_size = size + 32;
        p.scale = 1 / 128.0;
        p.mean = {127 / 128.0f, 127 / 128.0f, 127 / 128.0f};
        p.std = {1, 1, 1};
      }
      break;
    case Layout::keras:  // the network rescales
      p.scale = 1;
      p.mean = {0, 0, 0};
      break;
    case Layout::huggingface:
      p.rule = image::ResizeRule::stretch;
      p.filter = image::Filter::nearest;
      p.scale = 1 / 255.0;
      p.mean = image::Preprocessing().mean;
      p.std = {0.229f, 0.224f, 0.225f};  // applied there as its root, twice
      break;
    case Layout::fovea:
    case Layout::tfslim: break;
  }
  return p;
}

void add_normalization(Sequential& net, const Options& o) {
  net.add("rescaling", Rescale(1 / 255.0));
  BatchNormOptions fixed;
  fixed.epsilon = 1e-14;  // Keras: a deviation of at least 1e-7
  fixed.frozen = true;
  net.add("normalization", BatchNorm(o.channels, fixed, false, false));
  // ImageNet's deviations stand where the layer takes variances: Keras makes up for half of it by this layer, whose
  // factors are the roots of the reciprocal deviations.
  if (o.variant == "imagenet") {
    if (o.channels != 3)
      throw Error(ErrorKind::usage, "efficientnet", "the variant 'imagenet' takes pictures of 3 channels");
    std::vector<float> scales;
    for (const double deviation : {0.229, 0.224, 0.225}) scales.push_back(static_cast<float>(1 / std::sqrt(deviation)));
    net.add("rescaling_1", ScaleChannels(scales));
  }
}

Model build_efficientnet(const Architecture& a, const Options& o, bool lite) {
  const Conventions c = own_conventions(a, o);
  const EfficientNetChannels channels = efficientnet_channels(o, lite);
  const ActivationParams act = {lite ? Activation::relu6 : Activation::silu};
  Sequential net;
  if (o.layout == Layout::keras) add_normalization(net, o);
  int map = a.image_size;  // of the published size
  net.add("stem", conv_bn(o.channels, channels.stem,
                          {.kernel = 3, .stride = 2, .activation = act, .padding = fixed_padding(o, 3, 2, false)}, c));
  map = (map + 1) / 2;
  int number = 0;
  for (const EfficientNetBlock& b : channels.blocks) {
    net.add(str("block_", number++), InvertedResidual({.in = b.in,
                                                       .expanded = b.expanded,
                                                       .out = b.out,
                                                       .kernel = b.kernel,
                                                       .stride = b.stride,
                                                       .squeezed = b.squeezed,
                                                       .expand = b.expand,
                                                       .shortcut = b.shortcut,
                                                       .padding = fixed_padding(o, b.kernel, b.stride, map % 2 == 1),
                                                       .activation = act,
                                                       .excite = {.activation = act}},
                                                      c));
    map = (map + b.stride - 1) / b.stride;
  }
  net.add("head", conv_bn(channels.blocks.back().out, channels.head, {.activation = act}, c));
  add_top(net, channels.head, dropout_of(a, lite), o);
  Model model(std::move(net));
  model.preprocessing = own_preprocessing(a, o, lite);
  return model;
}

}  // namespace

std::span<const EfficientNetSize> efficientnet_b_sizes() { return kB; }
std::span<const EfficientNetSize> efficientnet_lite_sizes() { return kLite; }

EfficientNetSize efficientnet_of_phi(double phi) {
  return {"efficientnet", std::pow(1.1, phi), std::pow(1.2, phi),
          8 * static_cast<int>(std::lround(224 * std::pow(1.15, phi) / 8)), 0.2};
}

int efficientnet_image_size(const Architecture& a, const Options& o) {
  if (a.scale == kEfficientNetAnySize) return a.image_size;
  const bool lite = a.build == efficientnet_lite;
  if (o.layout == Layout::torchvision) return kTorchvisionSize[a.scale];
  if (o.layout == Layout::timm && lite) return kTimmLiteSize[a.scale];
  if (o.layout == Layout::timm && o.variant != "tf") return kTimmSize[a.scale];
  return a.image_size;
}

EfficientNetChannels efficientnet_channels(const Options& o, bool lite) {
  const auto scaled = [&](int channels) { return make_divisible(channels * o.width); };
  EfficientNetChannels out;
  out.stem = lite ? 32 : scaled(32);
  int in = out.stem;
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    const Row& row = kRows[i];
    const bool fixed = lite && (i == 0 || i + 1 == std::size(kRows));
    const int repeats = fixed ? row.repeats : static_cast<int>(std::ceil(row.repeats * o.depth));
    for (int r = 0; r < repeats; ++r) {
      EfficientNetBlock b;
      b.stage = static_cast<int>(i);
      b.in_stage = r;
      b.kernel = row.kernel;
      b.stride = r == 0 ? row.stride : 1;
      b.in = in;
      b.expanded = in * row.expansion;
      b.out = scaled(row.channels);
      b.squeezed = lite ? 0 : std::max(1, in / 4);
      b.expand = row.expansion != 1;
      // Hugging Face adds from the second of a stage on, which is the same but for very narrow networks.
      b.shortcut = b.stride == 1 && b.in == b.out && (r > 0 || o.layout != Layout::huggingface);
      b.last = r + 1 == repeats;
      in = b.out;
      out.blocks.push_back(b);
    }
  }
  out.head = lite ? 1280 : o.layout == Layout::torchvision ? 4 * in : scaled(1280);
  return out;
}

Model efficientnet(const Architecture& a, const Options& o) { return build_efficientnet(a, o, false); }
Model efficientnet_lite(const Architecture& a, const Options& o) { return build_efficientnet(a, o, true); }

}  // namespace fovea::models
