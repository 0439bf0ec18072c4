// Training in bf16 and f16 on the GPU: whole networks near f32, f32 parameters and gradients, loss scaling, the
// trainer.
#include <unistd.h>

#include <filesystem>
#include <map>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "cuda/both.h"
#include "cuda/striped_pictures.h"
#include "layers/fused/fused_pass.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/zoo.h"
#include "tests/tensor_distance.h"
#include "train/checkpoint.h"
#include "train/loss_scale.h"
#include "train/trainer.h"
#ifdef FOVEA_CUDA_DOUBLE
#include "library_doubles.h"
#endif

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr DType kHalves[] = {DType::bf16, DType::f16};

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed, "half network");
  return random_tensor(shape, rng, -2, 2).to(DType::f32);
}

struct Pass {
  Tensor logits;
  double loss = 0;
  std::map<std::string, Tensor> gradients, buffers;
};

/// A training step's forward and backward pass of a fresh network on the GPU. Losses in f16 are scaled.
Pass training_pass(const std::string& name, const models::Options& options, const Tensor& x, const Tensor& labels,
                   DType precision, bool checkpoint_blocks = false) {
  Model model = models::create(name, options);
  model.to(gpu());
  const TrainingMode training({.seed = 3, .precision = precision, .checkpoint_blocks = checkpoint_blocks});
  Tape tape;
  Pass pass;
  pass.logits = model(x.to(gpu()));
  const Tensor loss = cross_entropy(pass.logits, labels.to(gpu()));
  pass.loss = loss.item();
  LossScale scale({.scale = 1024});
  tape.backward(loss, precision == DType::f16 ? scale.seed(loss) : Tensor());
  if (precision == DType::f16) REQUIRE(scale.unscale(model.network().parameters()));
  for (const NamedTensor& t : model.network().named_tensors())
    (t.is_buffer ? pass.buffers : pass.gradients)[t.name] = t.is_buffer ? t.tensor : t.tensor.grad();
  return pass;
}

double length(const Tensor& t) {
  double sum = 0;
  for (const double v : t.to_vector<double>()) sum += v * v;
  return std::sqrt(sum);
}

/// cos of the angle between two tensors' values.
double alike(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double xy = 0, xx = 1e-300, yy = 1e-300;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += x[i] * y[i];
    xx += x[i] * x[i];
    yy += y[i] * y[i];
  }
  return xy / std::sqrt(xx * yy);
}

}  // namespace

TEST_CASE("networks train in bf16 and f16 on the GPU near their steps in f32", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const std::pair<const char*, models::Options> cases[] = {
      {"small_cnn", {.classes = 5}},
      {"mobilenet_v3_small", {.classes = 5, .image_size = 64}},
  };
  for (const auto& [name, options] : cases) {
    const auto in = models::create(name, options).preprocessing;
    const Tensor x = noise({6, in.height, in.width, in.channels}, 1),
                 labels = Tensor::from<std::int64_t>({6}, {1, 4, 0, 2, 3, 1});
    const Pass exact = training_pass(name, options, x, labels, DType::f32);
#ifdef FOVEA_CUDA_DOUBLE
    CHECK(cuda_double::last_cudnn_engine() == "plain");
#endif
    for (const DType type : kHalves) {
      INFO(name << " in " << to_string(type));
      const Pass pass = training_pass(name, options, x, labels, type);
#ifdef FOVEA_CUDA_DOUBLE
      CHECK(cuda_double::last_cudnn_engine() == "tensor cores");
#endif
      CHECK(pass.logits.dtype() == DType::f32);
      const double rounding = type == DType::bf16 ? 0x1p-8 : 0x1p-11;
      CHECK(tensor_distance(pass.logits, exact.logits, 1e-6) > 0.01 * rounding);  // it is not f32 after all
      CHECK(tensor_distance(pass.logits, exact.logits, 1e-6) < 30 * rounding);
      CHECK(pass.loss == Approx(exact.loss).epsilon(10 * rounding));
      double greatest = 0;
      for (const auto& [parameter, expected] : exact.gradients) greatest = std::fmax(greatest, length(expected));
      for (const auto& [parameter, expected] : exact.gradients) {
        INFO(parameter);
        const Tensor& got = pass.gradients.at(parameter);
        REQUIRE(got.defined());
        CHECK(got.dtype() == DType::f32);
        // Biases before a norm have no gradient but rounding. Norms of six pictures make percents of it elsewhere.
        if (length(expected) > 1e-4 * greatest) CHECK(alike(got, expected) > 1 - 60 * rounding);
      }
      for (const auto& [buffer, expected] : exact.buffers) {
        INFO(buffer);
        CHECK(pass.buffers.at(buffer).dtype() == expected.dtype());
        CHECK(tensor_distance(pass.buffers.at(buffer), expected, 1e-3) < 60 * rounding);
      }
      if (type == DType::f16 || name != std::string("mobilenet_v3_small")) continue;
      // Blocks that are computed again give the same bits.
      const Pass again = training_pass(name, options, x, labels, type, true);
      for (const auto& [parameter, expected] : pass.gradients) {
        INFO(parameter);
        CHECK(tensor_distance(again.gradients.at(parameter), expected, 1e-6) == 0);
      }
    }
  }
}

TEST_CASE("a step whose gradients are too large for f16 is left out, once, and halves the scale", "[gpu]") {
  FOVEA_NEEDS_GPU();
  Model model = models::create("small_cnn", {.classes = 3, .seed = 2});
  model.to(gpu());
  Optimizer optimizer = make_optimizer(SGD{.lr = 0.01}, model.network());
  const Tensor x = noise({4, 28, 28, 1}, 1).to(gpu()), labels = Tensor::from<std::int64_t>({4}, {0, 1, 2, 0}).to(gpu());
  LossScale scale({.scale = 256});
  const auto step = [&](std::uint64_t number, double factor) {
    const TrainingMode training({.step = number, .precision = DType::f16});
    Tape tape;
    const Tensor loss = fovea::scale(cross_entropy(model(x), labels), factor);
    tape.backward(loss, scale.seed(loss));
    const bool good = scale.unscale(optimizer.parameters());
    if (good) optimizer.step();
    optimizer.zero_grad();
    return good;
  };
  const Tensor weights = model.network().parameters().front().tensor;
  CHECK(step(0, 1));
  CHECK(scale.scale() == 256);
  const std::vector<float> before = weights.to_vector<float>();
  CHECK_FALSE(step(1, 1e6));
  CHECK(scale.scale() == 128);
  CHECK(scale.state().skipped == 1);
  CHECK(weights.to_vector<float>() == before);
  CHECK(step(2, 1));
  CHECK(scale.scale() == 128);
  CHECK(scale.state().good_steps == 1);
  CHECK(weights.to_vector<float>() != before);
}

TEST_CASE("f16 needs a GPU, and bf16 a GPU that has it; the errors say so", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const auto text = [](ErrorKind kind, auto&& call) {
    try {
      call();
    } catch (const Error& e) {
      CHECK(e.kind() == kind);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  Model model = models::create("small_cnn", {.classes = 3});
  const Tensor x = noise({2, 28, 28, 1}, 1);
  const auto pass = [&](DType precision, Device device) {
    model.to(device);
    const TrainingMode training({.precision = precision});
    const Tape tape;
    return model(x.to(device));
  };
  CHECK(text(ErrorKind::usage, [&] { pass(DType::f16, kCpu); }).find("f16 needs a GPU") != std::string::npos);
  TrainerOptions options;
  options.precision = DType::f16;
  model.to(kCpu);
  CHECK(text(ErrorKind::usage, [&] { Trainer(model, options); }).find("f16 needs a GPU") != std::string::npos);
#ifdef FOVEA_CUDA_DOUBLE
  cuda_double::set_capability(7);
  CHECK(text(ErrorKind::device, [&] { pass(DType::bf16, gpu()); }).find("compute capability") != std::string::npos);
  options.precision = DType::bf16;
  CHECK(text(ErrorKind::device, [&] { Trainer(model, options); }).find("compute capability") != std::string::npos);
  CHECK(pass(DType::f16, gpu()).defined());
  cuda_double::set_capability(8);
#endif
  CHECK(pass(DType::bf16, gpu()).defined());
}

TEST_CASE("the trainer learns in f16 and resumes to the same bits", "[gpu]") {
  FOVEA_NEEDS_GPU();
  const std::string path = (std::filesystem::temp_directory_path() / str("fovea_half_", getpid(), ".ckpt")).string();
  struct Stop : TrainObserver {
    CancelToken token;
    int after = -1, seen = 0;
    void on_batch(const BatchReport&) override {
      if (++seen == after) token.request();
    }
  };
  const auto train = [&](DType precision, int stop_after, bool resume) {
    Model model(Sequential(Conv2d(1, 8, {.stride = {2, 2}, .padding = 1}), BatchNorm(8), ReLU(),
                           Conv2d(8, 16, {.stride = {2, 2}, .padding = 1}), BatchNorm(16), ReLU(), GlobalAveragePool(),
                           Dense(16, 3)));
    model.network().initialize(3);
    model.preprocessing = models::create("small_cnn").preprocessing;
    model.to(gpu());
    Stop stop;
    stop.after = stop_after;
    TrainerOptions options;
    options.optimizer = AdamW{.lr = 1e-2};
    options.epochs = 2;
    options.batch_size = 8;
    options.accumulate = 2;
    options.precision = precision;
    options.checkpoint = path;
    options.resume = resume;
    options.observers = {&stop};
    options.cancel = &stop.token;
    Trainer trainer(model, options);
    const History history = trainer.fit(striped_pictures(96));
    std::vector<double> values;
    for (const NamedTensor& t : model.network().named_tensors()) {
      const std::vector<double> v = t.tensor.to_vector<double>();
      values.insert(values.end(), v.begin(), v.end());
    }
    return std::pair(history, values);
  };
  std::filesystem::remove(path);
  const auto [whole, expected] = train(DType::f16, -1, false);
  REQUIRE(whole.epochs.size() == 2);
  CHECK(whole.epochs.back().train_loss < 0.9 * whole.epochs.front().train_loss);
  const Checkpoint end = load_checkpoint(path);
  std::filesystem::remove(path);
  const auto [part, unfinished] = train(DType::f16, 4, false);
  CHECK(part.cancelled);
  CHECK(unfinished != expected);
  const auto [rest, got] = train(DType::f16, -1, true);
  CHECK(got == expected);
  const Checkpoint after = load_checkpoint(path);
  REQUIRE((end.loss_scale && after.loss_scale));
  CHECK(end.loss_scale->good_steps + end.loss_scale->skipped <= whole.epochs.back().step);
  CHECK(after.loss_scale->scale == end.loss_scale->scale);
  CHECK(after.loss_scale->good_steps == end.loss_scale->good_steps);
  CHECK(after.loss_scale->skipped == end.loss_scale->skipped);
  std::filesystem::remove(path);
}

#ifdef FOVEA_CUDA_DOUBLE
TEST_CASE("a step in bf16 copies what one in f32 copies, and leaks nothing") {
  Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 32, .width = 0.35});
  model.to(gpu());
  Optimizer optimizer = make_optimizer(AdamW{.lr = 1e-3}, model.network());
  const Tensor x = noise({4, 32, 32, 3}, 1), labels = Tensor::from<std::int64_t>({4}, {1, 4, 0, 2});
  std::int64_t live = 0;
  for (int step = 0; step < 3; ++step) {
    synchronize(gpu());
    std::int64_t copied = cuda_double::copied_bytes();
    {
      const TrainingMode training({.precision = DType::bf16});
      Tape tape;
      const Tensor loss = cross_entropy(model(x.to(gpu())), labels.to(gpu()));
      tape.backward(loss);
      copied = cuda_double::copied_bytes() - copied;
      optimizer.step();
      model.network().zero_grad();
      CHECK(std::isfinite(loss.item()));
    }
    synchronize(gpu());
    CHECK(copied == 4 * 32 * 32 * 3 * 4 + 4 * 8 + 4);
    if (step == 1) live = cuda_double::live_bytes();
  }
  // Where the gradients lie is kept, for a few places.
  const auto table = static_cast<std::int64_t>(optimizer.parameters().size()) * 64;
  CHECK(cuda_double::live_bytes() <= live + 2 * (table + 512));
}
#endif
