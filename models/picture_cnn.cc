// A small residual network for colour pictures of one's own, trained from nothing (64×64 by default, any size from 16
// up): a strided stem and four stages that double the channels as they halve the map (He et al. 2016, with one block
// per stage).
//
//   conv 3×3 stride 2 → 32
//   for channels 32, 64, 128, 256: conv 3×3 (stride 2 but in the first stage), residual block of 2 × conv 3×3
//   global average pool, dropout 0.2, dense → classes
#include "layers/modules.h"
#include "models/zoo.h"

namespace fovea::models {

Model picture_cnn(const Architecture&, const Options& o) {
  const int size = o.image_size, channels = o.channels;
  const auto block = [](int in, int out, int stride) {
    return ConvBnAct(in, out, {.stride = stride, .padding = 1, .weight_init = init::pytorch::kaiming_normal()});
  };
  Sequential net;
  net.add("stem", block(channels, 32, 2));
  int in = 32;
  for (int stage = 0; stage < 4; ++stage) {
    const int out = 32 << stage;
    const std::string n = std::to_string(stage + 1);
    net.add("conv" + n, block(in, out, stage == 0 ? 1 : 2));
    net.add("residual" + n, Residual(Sequential(block(out, out, 1), block(out, out, 1))));
    in = out;
  }
  net.add("pool", GlobalAveragePool());
  net.add("dropout", Dropout(0.2));
  net.add("fc", Dense(in, o.classes));
  Model model(std::move(net));
  model.preprocessing.width = model.preprocessing.height = size;
  model.preprocessing.channels = channels;
  model.preprocessing.resize_size = size + size / 8;
  return model;
}

}  // namespace fovea::models
