// A small network for differentially private training (28×28 grey by default, any size from 16 up). Noise grows with
// the number of parameters and gradients are clipped, so that small networks with bounded activations do best (Papernot
// et al. 2021, "Tempered sigmoid activations", whose network for Fashion-MNIST this is at 28×28); it has no norm, whose
// statistics would mix the pictures of a batch.
//
//   conv 8×8 stride 2 → 16, tanh, max pool 2 stride 1
//   conv 4×4 stride 2 → 32, tanh, max pool 2 stride 1
//   average pool to at most 4×4, dense → 32, tanh; dense → classes     26 010 parameters at 28×28
#include <algorithm>

#include "layers/modules.h"
#include "models/blocks.h"
#include "models/zoo.h"

namespace fovea::models {

Model private_cnn(const Architecture&, const Options& o) {
  const int size = o.image_size, channels = o.channels;
  const ActivationParams tanh{Activation::tanh};
  const auto after = [](int extent, int kernel, int padding) { return (extent + 2 * padding - kernel) / 2 + 1 - 1; };
  const int last = after(after(size, 8, 2), 4, 0);  // each convolution has a pool behind it that takes one
  Sequential net;
  net.add("conv1", Conv2d(channels, 16, {.kernel = 8, .stride = 2, .padding = 2, .activation = tanh}));
  net.add("pool1", MaxPool2d(2, {.stride = 1}));
  net.add("conv2", Conv2d(16, 32, {.kernel = 4, .stride = 2, .activation = tanh}));
  net.add("pool2", MaxPool2d(2, {.stride = 1}));
  if (last > 4) net.add("pool", AdaptiveAveragePool(4));
  net.add("flatten", Flatten());
  const int side = std::min(last, 4);
  net.add("fc1", Dense(side * side * 32, 32, {.activation = tanh}));
  net.add("fc2", Dense(32, o.classes));
  return stretching(std::move(net), size, channels);
}

}  // namespace fovea::models
