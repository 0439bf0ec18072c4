// Gradients of one training pass (fused, where that is what training does) up to the features, for
// bench/peers/gradients.py.
//
//   gradients WEIGHTS INPUT SEED OUT.safetensors       weights as torchvision names them; raw f32 [N,224,224,3], [N,F]
#include <cstdio>
#include <cstring>
#include <exception>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "models/conventions_info.h"
#include "models/load.h"
#include "models/transfer.h"

using namespace fovea;

namespace {

Tensor raw(const std::string& path, Shape shape) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  std::int64_t row = 4;
  for (int i = 1; i < shape.rank(); ++i) row *= shape[i];
  Tensor t(shape.with_dim(0, static_cast<std::int64_t>(bytes.size()) / row));
  std::memcpy(t.mutable_data<float>(), bytes.data(), t.nbytes());
  return t;
}

int run(char** argv) {
  const Model model = models::load(argv[1]);
  const Model trunk(split_at(model, "dropout").first);
  const Tensor x = raw(argv[2], {1, 224, 224, 3});
  {
    const TrainingMode training;
    Tape tape;
    const Tensor features = trunk(x);
    tape.backward(features, raw(argv[3], {1, features.dim(1)}));
  }
  for (NamedTensor& t : model.network().named_tensors()) {
    if (!t.tensor.grad().defined()) {
      t.tensor.zero();
    } else {
      t.tensor.copy_from(t.tensor.grad());
    }
  }
  write_safetensors(argv[4], models::export_weights(model, models::Layout::torchvision));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 5) throw Error(ErrorKind::usage, "gradients", "needs weights, input, seed and output");
    return run(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gradients: %s\n", error.what());
    return 2;
  }
}
