// The network of the demo (28×28 grey): three stages of 3×3 convolutions with batch norm and ReLU, one residual block
// where the maps are smallest. Chosen on a split of the training set of Fashion-MNIST for accuracy within four minutes
// on two cores: most multiply-adds lie at 14×14 and 7×7, because a convolution at 28×28 costs four times as much per
// channel.
//
//   conv 3×3 → 32                  28×28
//   max pool 2, conv 3×3 → 64      14×14
//   max pool 2, conv 3×3 → 128      7×7
//   residual: 2 × conv 3×3 → 128    7×7
//   max pool over all, dropout, dense → classes
#include "layers/modules.h"
#include "models/zoo.h"

namespace fovea::models {

Model fashion_cnn(const Options& o) {
  const int size = o.image_size > 0 ? o.image_size : 28;
  const int channels = o.channels > 0 ? o.channels : 1;
  const auto block = [](int in, int out) {
    return ConvBnAct(in, out, {.padding = 1, .weight_init = init::pytorch::kaiming_normal()});
  };
  Sequential net;
  net.add("conv1", block(channels, 32));
  net.add("pool1", MaxPool2d(2));
  net.add("conv2", block(32, 64));
  net.add("pool2", MaxPool2d(2));
  net.add("conv3", block(64, 128));
  net.add("residual", Residual(Sequential(block(128, 128), block(128, 128))));
  net.add("pool3", MaxPool2d(size / 2 / 2));
  net.add("flatten", Flatten());
  net.add("fc", Dense(128, o.classes));
  Model model(std::move(net));
  model.preprocessing.width = model.preprocessing.height = size;
  model.preprocessing.channels = channels;
  model.preprocessing.rule = image::ResizeRule::stretch;
  return model;
}

}  // namespace fovea::models
