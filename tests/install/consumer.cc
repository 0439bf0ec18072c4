// An outside program that builds, trains, saves, loads and runs a CNN: it must build against the installed tree alone,
// in under 3 s at -O0, and run.
#include <fovea/fovea.h>

#include <cstdio>

using namespace fovea;

int main() {
  auto net = std::make_shared<Sequential>(Conv2d(1, 8, {.padding = 1}), BatchNorm(8), ReLU(), MaxPool2d(2), Flatten(),
                                          Dense(4 * 4 * 8, 2));
  // Bright pictures are class 1, dark ones class 0.
  Tensor images({16, 8, 8, 1}), labels({16}, DType::i64);
  Rng rng(1, "pictures");
  for (int i = 0; i < 16; ++i) {
    labels.mutable_data<std::int64_t>()[i] = i % 2;
    for (int p = 0; p < 64; ++p)
      images.mutable_data<float>()[i * 64 + p] = static_cast<float>(i % 2 + rng.normal() / 4);
  }
  Optimizer optimizer = make_optimizer(AdamW{.lr = 1e-2}, *net);
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    const TrainingMode training;
    Tape tape;
    const Tensor loss = cross_entropy((*net)(images), labels);
    tape.backward(loss);
    optimizer.step();
    optimizer.zero_grad();
    (step == 0 ? first : last) = loss.item();
  }
  Model model{ModulePtr(net)};
  model.preprocessing.width = model.preprocessing.height = 8;
  model.preprocessing.channels = 1;
  save(model, "consumer.fovea");
  const Tensor expected = model(images), got = load_model("consumer.fovea")(images);
  for (std::int64_t i = 0; i < expected.numel(); ++i) {
    if (expected.data<float>()[i] != got.data<float>()[i]) return 1;
  }
  std::printf("loss %.3f -> %.3f\n", first, last);
  return last < first / 2 ? 0 : 1;
}
