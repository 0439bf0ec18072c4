// The networks of the demo (28×28 grey): three stages of two 3×3 convolutions with batch norm and ReLU each, a pool
// between them. Chosen on a split of Fashion-MNIST's training set (10 000 of 60 000 held out) for accuracy within four
// minutes on two cores: depth at every scale beats width (72 666 parameters; a network five times as large with one
// convolution per stage stays 1 % behind), and channels are whole vectors of AVX-512.
//
//                     fashion_cnn     fashion_cnn_wide
//   2 × conv 3×3         16                32            28×28
//   max pool 2, then     32                64, residual  14×14
//   max pool 2, then     64               128, residual   7×7
//   max pool over all, dense → classes
#include "layers/modules.h"
#include "models/blocks.h"
#include "models/zoo.h"

namespace fovea::models {
namespace {

ConvBnAct conv(int in, int out) {
  return ConvBnAct(in, out, {.padding = 1, .weight_init = init::pytorch::kaiming_normal()});
}

Model finish(Sequential net, const Options& o, int size, int channels, int features) {
  net.add("pool3", MaxPool2d(size / 2 / 2));
  net.add("flatten", Flatten());
  net.add("fc", Dense(features, o.classes));
  return stretching(std::move(net), size, channels);
}

Model wide(const Options& o) {
  Sequential net;
  net.add("stage1", Sequential(conv(o.channels, 32), conv(32, 32)));
  net.add("pool1", MaxPool2d(2));
  net.add("stage2", conv(32, 64));
  net.add("residual2", Residual(Sequential(conv(64, 64), conv(64, 64))));
  net.add("pool2", MaxPool2d(2));
  net.add("stage3", conv(64, 128));
  net.add("residual3", Residual(Sequential(conv(128, 128), conv(128, 128))));
  return finish(std::move(net), o, o.image_size, o.channels, 128);
}

}  // namespace

Model fashion_cnn(const Architecture& a, const Options& o) {
  if (a.scale == 1) return wide(o);
  Sequential net;
  net.add("stage1", Sequential(conv(o.channels, 16), conv(16, 16)));
  net.add("pool1", MaxPool2d(2));
  net.add("stage2", Sequential(conv(16, 32), conv(32, 32)));
  net.add("pool2", MaxPool2d(2));
  net.add("stage3", Sequential(conv(32, 64), conv(64, 64)));
  return finish(std::move(net), o, o.image_size, o.channels, 64);
}

}  // namespace fovea::models
