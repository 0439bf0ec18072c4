// The small CNN that benchmarks time (28×28 grey, 10 classes, 0.47 M parameters, 18.7 M multiply-adds):
//
//   conv 3×3 → 32, batch norm, ReLU        28×28
//   conv 3×3 → 32, batch norm, ReLU, max pool 2
//   conv 3×3 → 64, batch norm, ReLU        14×14
//   conv 3×3 → 64, batch norm, ReLU, max pool 2
//   dense → 128, ReLU; dense → classes      7×7
#include "layers/modules.h"
#include "models/blocks.h"
#include "models/zoo.h"

namespace fovea::models {

Model small_cnn(const Architecture&, const Options& o) {
  const int size = o.image_size, channels = o.channels;
  const int last = size / 2 / 2;
  Sequential net;
  const auto conv = [&](const std::string& n, int in, int out) {
    net.add("conv" + n, Conv2d(in, out, {.kernel = 3, .padding = 1}));
    net.add("bn" + n, BatchNorm(out, {.activation = {Activation::relu}}));
  };
  conv("1", channels, 32);
  conv("2", 32, 32);
  net.add("pool1", MaxPool2d(2));
  conv("3", 32, 64);
  conv("4", 64, 64);
  net.add("pool2", MaxPool2d(2));
  net.add("flatten", Flatten());
  net.add("fc1", Dense(last * last * 64, 128, {.activation = {Activation::relu}}));
  net.add("fc2", Dense(128, o.classes));
  return stretching(std::move(net), size, channels);
}

}  // namespace fovea::models
