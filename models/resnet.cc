// ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition", table 1). c channels inside a block, n
// blocks; the first block of a stage has stride s and, where channels or size change, a 1×1 convolution as its
// shortcut.
//
//                                  18  34  50  101  152
//   stem      conv 7×7 s2    64                           112×112 of a 224×224 picture
//   max_pool  3×3 s2                                       56×56
//               c  s            n   n   n    n    n
//   block_0…   64  1            2   3   3    3    3        56×56
//             128  2            2   4   4    4    8        28×28
//             256  2            2   6   6   23   36        14×14
//             512  2            2   3   3    3    3         7×7
//   pool, classifier
//
//   18, 34           conv1 3×3 (s), conv2 3×3, + shortcut, ReLU
//   50, 101, 152     conv1 1×1, conv2 3×3, conv3 1×1 to 4c, + shortcut, ReLU
//
// Keras has the paper's v1: the stride in the first 1×1 convolution, which skips three of four positions; and biases in
// its convolutions. The others moved the stride to the 3×3 ("v1.5", half a point of accuracy better).
#include "models/resnet.h"

#include "layers/ops/activation.h"
#include "layers/ops/arithmetic.h"
#include "models/blocks.h"

namespace fovea::models {
namespace {

struct Style {
  BatchNormOptions norm;
  bool bias = false;
  bool stride_first = false;
};

ConvBnAct conv(int in, int out, int kernel, int stride, const Style& style, bool activate = true) {
  return ConvBnAct(in, out,
                   {.kernel = kernel,
                    .stride = stride,
                    .padding = (kernel - 1) / 2,
                    .bias = style.bias,
                    .norm = style.norm,
                    .activation = activate ? ActivationParams{Activation::relu} : kNoActivation,
                    .weight_init = init::pytorch::kaiming_normal(0, Initializer::Fan::out)});
}

/// Children "conv1", "conv2", "conv3" (bottlenecks), "shortcut" (where the shape changes).
class ResNetBlock final : public Module {
 public:
  ResNetBlock(int in, int channels, int stride, bool bottleneck, const Style& style) {
    const int out = bottleneck ? 4 * channels : channels;
    const auto child = [&](const char* name, ConvBnAct c) {
      return register_module(name, std::make_shared<ConvBnAct>(std::move(c)));
    };
    if (bottleneck) {
      const int first = style.stride_first ? stride : 1;
      body_ = {child("conv1", conv(in, channels, 1, first, style)),
               child("conv2", conv(channels, channels, 3, stride / first, style)),
               child("conv3", conv(channels, out, 1, 1, style, false))};
    } else {
      body_ = {child("conv1", conv(in, channels, 3, stride, style)),
               child("conv2", conv(channels, out, 3, 1, style, false))};
    }
    if (in != out || stride != 1) shortcut_ = child("shortcut", conv(in, out, 1, stride, style, false));
  }
  std::string_view kind() const override { return "ResNetBlock"; }
  Tensor forward(const Tensor& x) override {
    Tensor y = x;
    for (const ModulePtr& layer : body_) y = (*layer)(y);
    return relu(add(shortcut_ ? (*shortcut_)(x) : x, y));
  }

 private:
  std::vector<ModulePtr> body_;
  ModulePtr shortcut_;
};

image::Preprocessing resnet_preprocessing(const Options& o) {
  image::Preprocessing p = preprocessing(o, o.image_size);
  if (o.layout == Layout::keras) {  // "caffe": blue first, the mean of ImageNet's pixels subtracted
    p.order = image::ChannelOrder::bgr;
    p.scale = 1;
    p.mean = {103.939f, 116.779f, 123.68f};
  } else if (o.layout == Layout::huggingface) {
    p = image::Preprocessing{.width = o.image_size, .height = o.image_size, .channels = p.channels};
    p.resize_size = static_cast<int>(o.image_size / 0.875);
    p.filter = image::Filter::bicubic;
  }
  return p;
}

}  // namespace

ResNetPlan resnet_plan(const Architecture& a) {
  switch (a.scale) {
    case 18: return {false, {2, 2, 2, 2}};
    case 34: return {false, {3, 4, 6, 3}};
    case 50: return {true, {3, 4, 6, 3}};
    case 101: return {true, {3, 4, 23, 3}};
    default: return {true, {3, 8, 36, 3}};
  }
}

Model resnet(const Architecture& a, const Options& o) {
  const ResNetPlan plan = resnet_plan(a);
  Style style;
  if (o.layout == Layout::keras) {
    style = {.norm = BatchNormOptions::keras(), .bias = true, .stride_first = true};
    style.norm.epsilon = 1.001e-5;
  }
  Sequential net;
  net.add("stem", conv(o.channels, 64, 7, 2, style));
  // Keras pads with zeros, which never win behind a ReLU either.
  net.add("max_pool", MaxPool2d(3, {.stride = 2, .padding = 1}));
  int in = 64, number = 0;
  for (int stage = 0; stage < 4; ++stage) {
    const int channels = 64 << stage;
    for (int r = 0; r < plan.repeats[static_cast<std::size_t>(stage)]; ++r) {
      net.add(str("block_", number++), ResNetBlock(in, channels, r == 0 && stage > 0 ? 2 : 1, plan.bottleneck, style));
      in = plan.bottleneck ? 4 * channels : channels;
    }
  }
  add_top(net, in, 0, o);
  Model model(std::move(net));
  model.preprocessing = resnet_preprocessing(o);
  return model;
}

}  // namespace fovea::models
