// Training steps of a small depthwise net against PyTorch, timm and Keras (shared/golden/train, see its README).
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/io/safetensors.h"
#include "kernels/registry.h"
#include "layers/modules/activation.h"
#include "layers/modules/containers.h"
#include "layers/modules/conv2d.h"
#include "layers/modules/dense.h"
#include "layers/modules/norm.h"
#include "layers/modules/simple.h"
#include "layers/ops/loss.h"
#include "train/optimizer.h"

using namespace fovea;

namespace {

struct Case {
  const char* file;
  OptimizerConfig optimizer;
};

std::vector<Case> cases() {
  const auto keras = OptimizerConvention::keras;
  const SGD sgd{.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4};
  const Adam adam{.lr = 0.01};
  const AdamW adamw{.lr = 0.01};
  const RMSprop rms{.lr = 0.01, .alpha = 0.9, .momentum = 0.9, .epsilon = 1e-3, .weight_decay = 1e-4};
  RMSprop rms_tf = rms;
  rms_tf.convention = RMSpropConvention::tensorflow1;
  RMSprop rms_keras = rms;
  rms_keras.convention = RMSpropConvention::keras;
  rms_keras.weight_decay = 0;
  RMSprop rms_centered = rms_keras;
  rms_centered.centered = true;
  SGD sgd_keras = sgd;
  sgd_keras.convention = keras;
  return {{"torch_sgd_sympad", sgd},
          {"torch_adam_sympad", adam},
          {"torch_adamw_sympad", adamw},
          {"torch_rmsprop_torch_sympad", rms},
          {"torch_rmsprop_tf_timm_sympad", rms_tf},
          {"torch_sgd_tfpad", sgd},
          {"torch_adam_tfpad", adam},
          {"torch_adamw_tfpad", adamw},
          {"torch_rmsprop_torch_tfpad", rms},
          {"torch_rmsprop_tf_timm_tfpad", rms_tf},
          {"keras_sgd", sgd_keras},
          {"keras_adam", Adam{.lr = 0.01, .epsilon = 1e-7, .convention = keras}},
          {"keras_adamw", AdamW{.lr = 0.01, .epsilon = 1e-7, .convention = keras}},
          {"keras_rmsprop", rms_keras},
          {"keras_rmsprop_centered", rms_centered}};
}

/// Our name of a golden tensor.
std::string our_name(std::string name) {
  static const std::vector<std::pair<std::string, std::string>> kParts = {{"/moving_mean", ".running_mean"},
                                                                          {"/moving_variance", ".running_var"},
                                                                          {"/gamma", ".weight"},
                                                                          {"/beta", ".bias"},
                                                                          {"/kernel", ".weight"},
                                                                          {"/bias", ".bias"}};
  for (const auto& [theirs, ours] : kParts) {
    const std::size_t at = name.find(theirs);
    if (at != std::string::npos) return name.replace(at, theirs.size(), ours);
  }
  return name;
}

Sequential make_net(bool keras, bool tf_padding) {
  BatchNormOptions norm;
  if (keras) norm = BatchNormOptions::keras();
  Sequential net;
  net.add("conv", Conv2d(3, 8,
                         {.kernel = 3,
                          .stride = 2,
                          .padding = tf_padding ? Padding::tf_same() : Padding::same_both(1),
                          .bias = false}));
  net.add("bn1", BatchNorm(8, norm));
  net.add("relu6", ReLU6());
  net.add("dw", DepthwiseConv2d(8, {.kernel = 3, .padding = 1, .bias = false}));
  net.add("bn2", BatchNorm(8, norm));
  net.add("pool", GlobalAveragePool());
  net.add("dense", Dense(8, 5));
  return net;
}

/// Largest difference, relative to the expected tensor's largest absolute value.
double difference(const Tensor& have, const Tensor& expected) {
  const std::vector<double> a = have.to_vector<double>(), b = expected.to_vector<double>();
  REQUIRE(a.size() == b.size());
  double worst = 0, scale = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    // NaN must not pass as "no difference".
    worst = std::isnan(a[i]) ? HUGE_VAL : std::max(worst, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return worst / scale;
}

/// Keras rounds Adam's betas to float32 before it raises them to the power t, in float64 training too: 0.999f makes the
/// bias correction, and so the whole step, up to 6e-6 larger than the formula. The data contains that.
double keras_beta_rounding(const OptimizerConfig& config, int t) {
  const auto correction = [t](double b1, double b2) { return std::sqrt(1 - std::pow(b2, t)) / (1 - std::pow(b1, t)); };
  return std::visit(
      [&](const auto& c) {
        if constexpr (requires {
                        c.beta1;
                        c.convention;
                      }) {
          if (c.convention == OptimizerConvention::keras) {
            const double b1 = static_cast<float>(c.beta1), b2 = static_cast<float>(c.beta2);
            return correction(b1, b2) / correction(c.beta1, c.beta2);
          }
        }
        return 1.0;
      },
      config);
}

struct Tolerance {
  double output, gradient, step1, step5;
};

/// Every tensor of the group, of which there are `count`.
void check_group(const Safetensors& golden, const std::string& group, const std::map<std::string, Tensor>& have,
                 double tolerance, int count) {
  int compared = 0;
  for (const auto& [name, expected] : golden.tensors) {
    if (!name.starts_with(group)) continue;
    const auto at = have.find(our_name(name.substr(group.size())));
    REQUIRE(at != have.end());
    INFO(name);
    CHECK(difference(at->second, expected) <= tolerance);
    ++compared;
  }
  CHECK(compared == count);
}

/// Results of the layers for the first two images, each module run by itself: what Sequential fuses is apart here.
void check_activations(const Safetensors& golden, const Sequential& net, const Tensor& x, double tolerance) {
  const TrainingMode training({.update_statistics = false});
  std::map<std::string, Tensor> results;
  Tensor y = x;
  for (const auto& [name, module] : net.children()) {
    y = (*module)(y);
    results[name] = y.slice(0, 2);
  }
  check_group(golden, "fwd/", results, tolerance, 4);
}

void check_case(const Case& c, DType dtype, const Tolerance& tolerance) {
  const std::string name = c.file;
  const bool keras = name.starts_with("keras");
  const Safetensors golden = read_safetensors(*shared_path("golden/train/" + name + ".safetensors"));
  Sequential net = make_net(keras, keras || name.ends_with("tfpad"));
  net.to(dtype);
  for (NamedTensor& t : net.named_tensors()) {
    bool found = false;
    for (const auto& [key, value] : golden.tensors) {
      if (!key.starts_with("init/") || our_name(key.substr(5)) != t.name) continue;
      t.tensor.copy_from(value.to(dtype).view_as(t.tensor.shape()));
      found = true;
    }
    INFO(t.name);
    REQUIRE(found);
  }
  const Tensor x = golden.find("x").clone().to(dtype);
  const Tensor labels = golden.find("labels").clone();
  const std::vector<double> losses = golden.find("losses").to_vector<double>();

  check_activations(golden, net, x, tolerance.output);
  CHECK(std::abs(golden.find("loss").item() - losses[0]) <= 1e-6 * losses[0]);  // one is f32, the other f64
  Optimizer optimizer = make_optimizer(c.optimizer, net, {.decay_all = true});
  for (int step = 0; step < 5; ++step) {
    INFO("step " << step);
    {
      TrainingMode training;
      Tape tape;
      const Tensor logits = net(x);
      const Tensor loss = cross_entropy(logits, labels);
      CHECK(std::abs(loss.item() - losses[static_cast<std::size_t>(step)]) <=
            std::max(tolerance.output, step ? tolerance.step5 : 0) * losses[0]);
      if (step == 0) CHECK(difference(logits, golden.find("logits")) <= tolerance.output);
      tape.backward(loss);
    }
    std::map<std::string, Tensor> gradients, values;
    for (const NamedTensor& p : net.parameters()) gradients[p.name] = p.tensor.grad();
    if (step == 0) check_group(golden, "grad/", gradients, tolerance.gradient, 8);
    optimizer.set_learning_rate(base_learning_rate(c.optimizer) * keras_beta_rounding(c.optimizer, step + 1));
    optimizer.step();
    optimizer.zero_grad();
    for (const NamedTensor& t : net.named_tensors()) values[t.name] = t.tensor;
    if (step == 0) check_group(golden, "step1/", values, tolerance.step1, 12);
    if (step == 4) check_group(golden, "step5/", values, tolerance.step5, 12);
  }
  CHECK(optimizer.step_count() == 5);
}

constexpr Tolerance kDouble{1e-6, 1e-6, 1e-6, 1e-6};
constexpr Tolerance kFloat{1e-5, 5e-5, 5e-5, 1e-4};

}  // namespace

TEST_CASE("the table names every file of golden training data") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  std::vector<std::string> files, named;
  for (const auto& entry : std::filesystem::directory_iterator(*shared_path("golden/train"))) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().stem().string());
  }
  for (const Case& c : cases()) named.emplace_back(c.file);
  std::sort(files.begin(), files.end());
  std::sort(named.begin(), named.end());
  CHECK(files == named);
}

TEST_CASE("five steps of each optimizer agree with PyTorch, timm and Keras") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  for (const Case& c : cases()) {
    DYNAMIC_SECTION(c.file << ", f64 on the reference path") {
      kernels::ForceImplementation force("reference", true);
      check_case(c, DType::f64, kDouble);
    }
    DYNAMIC_SECTION(c.file << ", f32 on the reference path") {
      kernels::ForceImplementation force("reference", true);
      check_case(c, DType::f32, kFloat);
    }
    DYNAMIC_SECTION(c.file << ", f32 as the registry chooses") { check_case(c, DType::f32, kFloat); }
    DYNAMIC_SECTION(c.file << ", f32 on our vector kernels alone") {
      kernels::ForceImplementation force("simd", true);
      check_case(c, DType::f32, kFloat);
    }
    DYNAMIC_SECTION(c.file << ", f32 on oneDNN where it serves") {
      kernels::ForceImplementation force("onednn");
      check_case(c, DType::f32, kFloat);
    }
  }
}
