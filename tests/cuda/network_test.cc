// Whole networks on the GPU: answers, gradients and training equal the CPU's, and nothing goes by way of the host.
#include <map>

#include "augment/transform.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "cuda/striped_pictures.h"
#include "layers/fused/fused_pass.h"
#include "layers/grad_check.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "tests/tensor_distance.h"
#include "train/distributed/mpi.h"
#include "train/evaluation.h"
#include "train/trainer.h"

using namespace fovea;
using namespace fovea::test;

namespace {

struct Pass {
  Tensor logits, loss;
  std::map<std::string, Tensor> gradients, buffers;
};

/// A training pass, op by op, of a fresh network with the same weights on each device.
Pass training_pass(const std::string& name, const models::Options& options, Device device, const Tensor& x,
                   const Tensor& labels) {
  Model model = models::create(name, options);
  model.network().to(x.dtype());
  model.to(device);
  const NoFusion apart;
  const TrainingMode training({.seed = 3});
  Tape tape;
  Pass pass;
  pass.logits = model(x.to(device));
  pass.loss = cross_entropy(pass.logits, labels.to(device));
  tape.backward(pass.loss);
  for (const NamedTensor& t : model.network().named_tensors()) {
    if (t.is_buffer) {
      pass.buffers[t.name] = t.tensor;
    } else {
      pass.gradients[t.name] = t.tensor.grad();
    }
  }
  return pass;
}

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed, "network");
  return random_tensor(shape, rng, -2, 2).to(DType::f32);
}

/// Of answers in f64. On a GPU sums have another order: Inception's logits moved by 1.5e-9 on an H100.
#ifdef FOVEA_CUDA_DOUBLE
constexpr double kAnswers = 1e-9;
#else
constexpr double kAnswers = 1e-8;
#endif

double relative(const Tensor& a, const Tensor& b) { return tensor_distance(a, b, 1e-6); }

}  // namespace

// In f64, where rounding does not hide mistakes, however deep the network; in f32 answers only: batch statistics of two
// pictures on maps of few pixels amplify its rounding to percents.
TEST_CASE("every family of the zoo trains and answers on the GPU as on the CPU", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const std::pair<const char*, models::Options> cases[] = {
      {"small_cnn", {.classes = 5}},
      {"mobilenet_v1", {.classes = 5, .image_size = 64, .width = 0.25}},
      {"mobilenet_v2", {.classes = 5, .image_size = 64, .width = 0.35}},
      {"mobilenet_v3_small", {.classes = 5, .image_size = 64}},
      {"efficientnet_b0", {.classes = 5, .image_size = 33}},
      {"resnet18", {.classes = 5, .image_size = 33}},
      {"inception_v3", {.classes = 5, .image_size = 75}},
  };
  for (const auto& [name, options] : cases) {
    INFO(name);
    Model model = models::create(name, options);
    const auto& in = model.preprocessing;
    const Tensor x = noise({2, in.height, in.width, in.channels}, 1), labels = Tensor::from<std::int64_t>({2}, {1, 4});
    const Tensor wide = x.to(DType::f64);
    const Pass here = training_pass(name, options, kCpu, wide, labels),
               there = training_pass(name, options, gpu(), wide, labels);
    CHECK(relative(there.logits, here.logits) < kAnswers);
    CHECK(relative(there.loss, here.loss) < kAnswers);
    for (const auto& [parameter, expected] : here.gradients) {
      INFO(parameter);
      const Tensor& got = there.gradients.at(parameter);
      REQUIRE(got.defined() == expected.defined());
      if (!expected.defined()) continue;
      CHECK(got.device() == gpu());
      CHECK(relative(got, expected) < 1e-7);
    }
    for (const auto& [buffer, expected] : here.buffers) {
      INFO(buffer);
      CHECK(relative(there.buffers.at(buffer), expected) < 1e-8);
    }
    const NoGrad no_grad;
    const Tensor expected = model(x);
    model.to(gpu());
    CHECK(relative(model(x.to(gpu())), expected) < 1e-4);
  }
}

TEST_CASE("gradients of a network in f64 on the GPU equal difference quotients", "[gpu]") {
  FOVEA_NEEDS_GPU();
  // Everything of size: a convolution of each kind, norms, pools, activations.
  Sequential net(Conv2d(2, 6, {.padding = 1}), BatchNorm(6), SiLU(), DepthwiseConv2d(6, {.stride = 2, .padding = 1}),
                 GroupNorm(2, 6), HardSwish(), Conv2d(6, 4, {.kernel = 1}), GELU(), GlobalAveragePool(), Dense(4, 3));
  net.to(DType::f64);
  net.to(gpu());
  Rng rng(5, "cuda");
  const Tensor x = random_tensor({2, 5, 6, 2}, rng), labels = Tensor::from<std::int64_t>({2}, {0, 2}).to(gpu());
  const auto loss_of = [&] {
    const TrainingMode training({.update_statistics = false});
    return cross_entropy(net(x.to(gpu())), labels);
  };
  Tape tape;
  tape.backward(loss_of());
  tape.clear();
  const NoGrad no_grad;
  for (const NamedTensor& t : net.parameters()) {
    INFO(t.name);
    Tensor parameter = t.tensor;
    const std::vector<double> grad = parameter.grad().to_vector<double>(), values = parameter.to_vector<double>();
    for (const std::size_t i : {std::size_t{0}, values.size() / 2, values.size() - 1}) {
      const auto at = [&](double delta) {
        std::vector<double> moved = values;
        moved[i] += delta;
        parameter.copy_from(Tensor::from(parameter.shape(), moved));
        return loss_of().item();
      };
      const double h = 1e-5, slope = (at(h) - at(-h)) / (2 * h);
      CHECK(grad[i] == Approx(slope).epsilon(1e-5).margin(1e-8));
    }
    parameter.copy_from(Tensor::from(parameter.shape(), values));
  }
}

TEST_CASE("the trainer's first steps are the same on the GPU", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const auto train = [](Device device) {
    Model model = models::create("small_cnn", {.classes = 3, .image_size = 12, .channels = 1, .seed = 2});
    model.to(device);
    TrainerOptions options;
    options.optimizer = AdamW{.lr = 1e-3};
    options.epochs = 2;
    options.batch_size = 16;
    options.clip_norm = 1;
    options.ema = EmaOptions{};
    options.loss.class_weights = {1, 2, 1};
    const NoFusion apart;
    Trainer trainer(model, options);
    const History history = trainer.fit(striped_pictures(48), striped_pictures(12));
    return std::pair(history, model);
  };
  const auto [here, model_here] = train(kCpu);
  const auto [there, model_there] = train(gpu());
  REQUIRE(here.epochs.size() == there.epochs.size());
  for (std::size_t e = 0; e < here.epochs.size(); ++e) {
    CHECK(there.epochs[e].train_loss == Approx(here.epochs[e].train_loss).epsilon(1e-3));
    CHECK(there.epochs[e].val_loss == Approx(here.epochs[e].val_loss).epsilon(1e-2));
  }
  const auto a = model_here.network().named_tensors(), b = model_there.network().named_tensors();
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].name);
    CHECK(b[i].tensor.device() == gpu());
    CHECK(relative(b[i].tensor, a[i].tensor) < 3e-2);  // Adam's first steps are signs of gradients, however small
  }
}

TEST_CASE("a training whose passes are recorded gives the same bits", "[gpu]") {
  FOVEA_NEEDS_GPU();
  // Dropout, batch statistics, a smaller last batch, labels that are mixed in some batches.
  const auto convolution = std::make_shared<Conv2d>(1, 6, Conv2dOptions{.stride = 4, .padding = 1});
  Model model(Sequential(convolution, BatchNorm(6), ReLU(), GlobalAveragePool(), Dropout(0.3), Dense(6, 3)));
  model.preprocessing.height = model.preprocessing.width = 28;
  model.preprocessing.channels = 1;
  std::vector<Tensor> fresh;
  for (const NamedTensor& t : model.network().named_tensors()) fresh.push_back(t.tensor.clone());
  model.to(gpu());
  const auto world = alone();  // as the program trains without mpirun
  const auto train = [&](bool recorded, DType precision = DType::f32) {
    const auto tensors = model.network().named_tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      Tensor t = tensors[i].tensor;
      t.copy_from(fresh[i]);
    }
    TrainerOptions options;
    options.optimizer = SGD{.lr = 0.05, .momentum = 0.9};
    options.epochs = 2;
    options.batch_size = 8;
    options.clip_norm = 1;
    options.batch_transforms = {transforms::mixup({.probability = 0.7})};
    options.cuda_graph = recorded;
    options.ranks = world.get();
    options.precision = precision;
    Trainer trainer(model, options);
    const History history = trainer.fit(striped_pictures(52));
    std::vector<float> bits;
    for (const NamedTensor& t : model.network().named_tensors()) {
      for (const float v : t.tensor.to(kCpu).to_vector<float>()) bits.push_back(v);
    }
    bits.push_back(static_cast<float>(history.epochs.back().train_loss));
    return bits;
  };
  for (const DType half : {DType::bf16, DType::f16}) CHECK(train(true, half) == train(false, half));
  const std::vector<float> expected = train(false);
#ifdef FOVEA_CUDA_DOUBLE
  const std::int64_t begin = cuda_double::launches();
  CHECK(train(false) == expected);
  const std::int64_t middle = cuda_double::launches();
#endif
  CHECK(train(true) == expected);
#ifdef FOVEA_CUDA_DOUBLE
  CHECK(cuda_double::launches() - middle < (middle - begin) * 3 / 4);
#endif
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("a training step copies its batch to the GPU and a number back, nothing else, and leaks nothing") {
  Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 32, .width = 0.35});
  model.to(gpu());
  Optimizer optimizer = make_optimizer(AdamW{.lr = 1e-3}, model.network());
  const Tensor x = noise({4, 32, 32, 3}, 1), labels = Tensor::from<std::int64_t>({4}, {1, 4, 0, 2});
  std::int64_t live = 0, copied = 0;
  for (int step = 0; step < 4; ++step) {
    synchronize(gpu());
    const std::int64_t before = cuda_double::copied_bytes();
    {
      const TrainingMode training;
      Tape tape;
      const Tensor loss = cross_entropy(model(x.to(gpu())), labels.to(gpu()));
      tape.backward(loss);
      optimizer.step();
      model.network().zero_grad();
      CHECK(std::isfinite(loss.item()));
    }
    synchronize(gpu());
    copied = cuda_double::copied_bytes() - before;
    if (step == 1) live = cuda_double::live_bytes();
  }
  // The batch, the labels, the gradient's seed of 1 and the loss; and where the gradients lie, if they lie elsewhere
  // than before.
  const std::int64_t needed = 4 * 32 * 32 * 3 * 4 + 4 * 8 + 4 + 4,
                     table = static_cast<std::int64_t>(optimizer.parameters().size()) * 64;
  CHECK(cuda_double::live_bytes() <= live + 2 * (table + 512));
  CHECK((copied == needed || copied == needed + table));
}
#endif
