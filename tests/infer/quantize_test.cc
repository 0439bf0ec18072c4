// Post-training quantisation: ranges, integers, what calibration changes, and the integer kernels against their
// simulation in f32.
#include "infer/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "infer/compile/compile.h"
#include "infer/quantize/captured_internal.h"
#include "infer/quantize/quantize_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "layers/modules.h"
#include "models/options.h"
#include "settle.h"

using namespace fovea;
using test::noise, test::settle;

namespace {

Tensor column(const std::vector<float>& values) {
  return Tensor::from<float>({static_cast<std::int64_t>(values.size())}, values);
}

Model small_model(const std::string& name = "mobilenet_v2", double width = 0.35, int size = 64) {
  Model model = models::create(name, {.classes = 20, .image_size = size, .seed = 5, .width = width});
  settle(model, size);
  return model;
}

std::vector<Tensor> batches(int size, int count = 4, std::uint64_t seed = 21) {
  std::vector<Tensor> all;
  for (int i = 0; i < count; ++i) all.push_back(noise({4, size, size, 3}, seed + static_cast<std::uint64_t>(i)));
  return all;
}

double mean_squared_error_of(const std::vector<float>& values, const infer::Range& range) {
  const infer::Quantization q = infer::quantization_of(range);
  double sum = 0;
  for (const float v : values) {
    const double step =
        std::clamp(std::nearbyint(static_cast<double>(v) / static_cast<double>(q.scale)) + q.zero, 0.0, 255.0);
    const double e = static_cast<double>(v) - (step - q.zero) * static_cast<double>(q.scale);
    sum += e * e;
  }
  return sum;
}

}  // namespace

TEST_CASE("a histogram depends on the values only, not on batches and their order", "[quantize]") {
  std::vector<float> values;
  Rng rng(3, "quantize_test");
  for (int i = 0; i < 70'000; ++i) values.push_back(static_cast<float>(rng.normal() * (i % 100 == 0 ? 40 : 0.5)));
  infer::Histogram whole, parts;
  whole.add(column(values));
  // Small values first, so that the range has to grow.
  std::sort(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  for (std::size_t i = 0; i < values.size(); i += 7'000)
    parts.add(column(
        {values.begin() + static_cast<std::ptrdiff_t>(i), values.begin() + static_cast<std::ptrdiff_t>(i + 7'000)}));
  CHECK(whole.bin_width() == parts.bin_width());
  CHECK(whole.first_bin() == parts.first_bin());
  CHECK(whole.bins() == parts.bins());
  const infer::Range seen = whole.seen();
  CHECK(seen.low == static_cast<double>(*std::min_element(values.begin(), values.end())));
  CHECK(seen.high == static_cast<double>(*std::max_element(values.begin(), values.end())));
  CHECK((seen.high - seen.low) / whole.bin_width() > 2047);
  std::int64_t counted = 0;
  for (const std::int64_t n : whole.bins()) counted += n;
  CHECK(counted == 70'000);
}

TEST_CASE("ranges hold zero, percentiles leave out what they say", "[quantize]") {
  std::vector<float> values;
  for (int i = 1; i <= 10'000; ++i) values.push_back(static_cast<float>(i) * 0.01f);
  infer::Histogram h;
  CHECK_THROWS_AS(h.seen(), Error);
  h.add(column(values));
  using infer::Observer;
  for (const Observer o : {Observer::min_max, Observer::percentile, Observer::entropy, Observer::mse})
    CHECK(h.range(o).low == 0);
  CHECK(h.range(Observer::min_max).high == Approx(100));
  CHECK(h.range(Observer::percentile, 99).high == Approx(99).margin(0.05));
  CHECK(h.range(Observer::percentile, 90).high == Approx(90).margin(0.05));
  CHECK_THROWS_AS(h.range(Observer::percentile, 30), Error);
  CHECK_THROWS_AS(h.add(column({1, NAN})), Error);
  CHECK_THROWS_AS(h.add(column({INFINITY})), Error);
  const infer::Quantization q = infer::quantization_of({-1, 3});
  CHECK(q.scale == Approx(4.0 / 255));
  CHECK(q.zero == 64);
  CHECK(infer::quantization_of({0, 6}).zero == 0);
  CHECK(infer::quantization_of({0, 0}).scale > 0);
  CHECK_THROWS_AS(infer::observer_from("median"), Error);
}

TEST_CASE("the range of least squared error is the best of all ranges", "[quantize]") {
  // A normal distribution with an outlier, for whose sake two thirds of the steps would be empty.
  std::vector<float> values;
  Rng rng(4, "quantize_test");
  for (int i = 0; i < 400'000; ++i) values.push_back(static_cast<float>(rng.normal()));
  values.push_back(20.0f);
  infer::Histogram h;
  h.add(column(values));
  const double found = mean_squared_error_of(values, h.range(infer::Observer::mse));
  double best = 1e30;
  for (double low = -6; low <= -2; low += 0.5) {
    for (double high = 2; high <= 21; high += 0.5) best = std::min(best, mean_squared_error_of(values, {low, high}));
  }
  CHECK(found < 1.03 * best);
  CHECK(found < 0.85 * mean_squared_error_of(values, h.range(infer::Observer::min_max)));
  // The divergence clips the outliers too.
  CHECK(h.range(infer::Observer::entropy).high < 15);
}

TEST_CASE("weights become the nearest integers of the channel's scale", "[quantize]") {
  const Tensor w = noise({3, 3, 80, 5}, 31);
  double errors[2] = {};
  for (const infer::WeightScale how : {infer::WeightScale::max, infer::WeightScale::mse}) {
    const infer::IntegerWeights q = infer::quantize_weights(w, how);
    for (std::int64_t i = 0; i < w.numel(); ++i) {
      const float s = q.scale.data<float>()[i % 5], x = w.data<float>()[i];
      const int integer = q.weight.data<std::int8_t>()[i];
      CHECK(integer == static_cast<int>(std::clamp(std::nearbyint(x / s), -127.0f, 127.0f)));
      const double e = static_cast<double>(x - s * static_cast<float>(integer));
      errors[how == infer::WeightScale::mse] += e * e;
    }
    if (how == infer::WeightScale::max) {
      for (std::int64_t c = 0; c < 5; ++c) {
        float largest = 0;
        for (std::int64_t i = c; i < w.numel(); i += 5) largest = std::max(largest, std::abs(w.data<float>()[i]));
        CHECK(q.scale.data<float>()[c] == largest / 127);
      }
    }
  }
  CHECK(errors[1] <= errors[0]);
  // A huge weight of something that never varies does not take the others' steps away.
  Tensor odd = w.clone();
  for (std::int64_t c = 0; c < 5; ++c) odd.mutable_data<float>()[c] *= 300;
  std::vector<double> importance(static_cast<std::size_t>(w.numel() / 5), 1.0);
  importance[0] = 1e-9;
  const infer::IntegerWeights q = infer::quantize_weights(odd, infer::WeightScale::mse, importance);
  for (std::int64_t i = 5; i < w.numel(); ++i)
    CHECK(std::abs(w.data<float>()[i] -
                   q.scale.data<float>()[i % 5] * static_cast<float>(q.weight.data<std::int8_t>()[i])) < 0.03f);
}

TEST_CASE("rounding by results makes less error in the results, of each kind of layer", "[quantize]") {
  const NoGrad no_grad;
  // Channels that go together, as in real networks: there is much to gain.
  Model model(Sequential(Conv2d(3, 24, {.padding = 1}), ReLU(),
                         Conv2d(24, 24, {.padding = Padding::tf_same(), .groups = 24}), ReLU(),
                         Conv2d(24, 16, {.kernel = 1}), GlobalAveragePool(), Dense(16, 7)));
  model.preprocessing.height = model.preprocessing.width = 12;
  const infer::Graph graph = infer::captured(model).graph;
  std::vector<Tensor> pictures;
  for (std::uint64_t i = 0; i < 6; ++i) {
    Tensor x = noise({8, 12, 12, 3}, 40 + i);
    float* const v = x.mutable_data<float>();
    for (std::int64_t k = 3; k < x.numel(); ++k) v[k] = 0.9f * v[k - 3] + 0.3f * v[k];
    pictures.push_back(x);
  }
  const std::vector<infer::Moments> moments = infer::moments_of(graph, pictures);
  const infer::Simulation network(graph);
  int compared = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const infer::Node& node = graph.nodes[i];
    if (!infer::can_be_integer(node)) continue;
    REQUIRE(moments[i].size > 0);
    double noise_of[2] = {};
    for (const bool by_results : {false, true}) {
      const infer::IntegerWeights q = by_results ? infer::round_by_results(node, moments[i], infer::WeightScale::max)
                                                 : infer::quantize_weights(node.weight, infer::WeightScale::max);
      infer::Node rounded = node;
      rounded.weight = q.weight;
      rounded.weight_scale = q.scale;
      for (const Tensor& x : pictures) {
        infer::Simulation::Values values = network.start(x);
        for (std::size_t k = 0; k < i; ++k) network.step(k, values);
        const Tensor want = network.result(i, values, network.weights(i), true);
        infer::Simulation::Weights weights{infer::real_weight(rounded), node.bias};
        infer::ChannelMeans means, rounded_means;
        means.add(want);
        rounded_means.add(network.result(i, values, weights, true));
        weights.bias = infer::corrected_bias(node.bias, means, rounded_means);
        noise_of[by_results] +=
            std::pow(10.0, -infer::signal_to_noise(want, network.result(i, values, weights, true)) / 10);
      }
    }
    INFO(node.name << ": " << noise_of[0] << " and " << noise_of[1]);
    CHECK(noise_of[1] < noise_of[0]);
    // The picture's neighbours are nearly equal: there much is gained.
    if (compared < 2) CHECK(noise_of[1] < 0.85 * noise_of[0]);
    ++compared;
  }
  CHECK(compared == 4);
}

TEST_CASE("a simulation without quantisation is the model", "[quantize]") {
  const NoGrad no_grad;
  const InferenceMode inference;
  for (const char* name : {"mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "resnet18", "inception_v3"}) {
    const int size = std::string_view(name) == "inception_v3" ? 80 : 49;
    Model model = models::create(name, {.classes = 9, .image_size = size, .seed = 3});
    settle(model, size);
    const Tensor x = noise({2, size, size, 3}, 51);
    const infer::Graph graph = infer::captured(model).graph;
    INFO(name);
    CHECK(infer::signal_to_noise(model(x), infer::Simulation(graph)(x)) > 80);
  }
}

TEST_CASE("equalisation keeps what the network computes", "[quantize]") {
  const NoGrad no_grad;
  const Model model = small_model();
  const std::vector<Tensor> pictures = batches(64);
  const infer::Graph before = infer::captured(model).graph;
  infer::Graph after = before;
  CHECK(infer::equalize(after, pictures) > 20);
  // On the pictures that were seen nothing is clipped: equal to rounding.
  for (const Tensor& x : pictures)
    CHECK(infer::signal_to_noise(infer::Simulation(before)(x), infer::Simulation(after)(x)) > 80);
  // All channels between an expansion and its depthwise convolution now reach equally far.
  infer::Simulation network(after);
  std::vector<float> most;
  for (const Tensor& x : pictures) {
    infer::Simulation::Values values = network.start(x);
    for (std::size_t i = 0; i < after.nodes.size(); ++i) {
      network.step(i, values);
      if (after.nodes[i].name != "block_3.expand.conv") continue;
      const Tensor& y = values[static_cast<std::size_t>(after.root(after.nodes[i].output))];
      most.resize(static_cast<std::size_t>(y.dim(-1)), 0.0f);
      for (std::int64_t k = 0; k < y.numel(); ++k) {
        float& m = most[static_cast<std::size_t>(k % y.dim(-1))];
        m = std::max(m, y.data<float>()[k]);
      }
    }
  }
  REQUIRE_FALSE(most.empty());
  const float greatest = *std::max_element(most.begin(), most.end());
  for (const float m : most) CHECK((m == 0 || m > 0.99f * greatest));
}

TEST_CASE("bias correction takes the mean error of every channel away", "[quantize]") {
  const NoGrad no_grad;
  Model model(
      Sequential(Conv2d(3, 8, {.padding = 1}), ReLU6(), Conv2d(8, 6, {.kernel = 1}), GlobalAveragePool(), Dense(6, 4)));
  model.preprocessing.height = model.preprocessing.width = 8;
  const Tensor x = noise({16, 8, 8, 3}, 61);
  infer::Graph reference = infer::captured(model).graph;
  infer::Graph graph = reference;
  graph.quantization.assign(graph.memory.size(), {});
  for (infer::Node& node : graph.nodes) {
    if (!infer::can_be_integer(node)) continue;
    infer::IntegerWeights q = infer::quantize_weights(node.weight, infer::WeightScale::max);
    // A coarse grid and a clipped range, so that means move.
    node.weight = q.weight;
    node.weight_scale = q.scale;
    graph.quantization[static_cast<std::size_t>(graph.root(node.inputs[0]))] = {0.05f, 20};
  }
  // In parts, as much as in one.
  const Tensor parts[] = {x.slice(0, 5), x.slice(5, 16)};
  infer::correct_bias(graph, reference, parts);
  const infer::Simulation f32(reference), rounded(graph);
  infer::Simulation::Values a = f32.start(x), b = rounded.start(x);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (infer::can_be_integer(graph.nodes[i])) {
      const Tensor want = f32.result(i, a, f32.weights(i), true), have = rounded.result(i, b, rounded.weights(i), true);
      const std::int64_t channels = want.dim(-1);
      for (std::int64_t c = 0; c < channels; ++c) {
        double difference = 0, size = 0;
        for (std::int64_t k = c; k < want.numel(); k += channels) {
          difference += static_cast<double>(want.data<float>()[k] - have.data<float>()[k]);
          size += std::abs(static_cast<double>(want.data<float>()[k]));
        }
        CHECK(std::abs(difference) < 1e-5 * size);
      }
    }
    f32.step(i, a);
    rounded.step(i, b);
  }
}

TEST_CASE("integer kernels give what the simulation says", "[quantize]") {
  const NoGrad no_grad;
  for (const char* name : {"mobilenet_v2", "efficientnet_lite0", "resnet18", "mobilenet_v3_small", "efficientnet_b0"}) {
    const Model model = small_model(name, 1.0, 64);
    const std::vector<Tensor> pictures = batches(64, 3);
    infer::QuantizeOptions options;
    options.most_loss = 1;
    options.measure_layers = false;
    const infer::QuantizedModel q = infer::quantize(model, pictures, options);
    infer::Network network = q.network();
    // Pictures that nothing was fitted to: the biases suit the simulation's roundings on the others.
    infer::Noise simulation, kernels, both;
    for (const Tensor& x : batches(64, 6, 91)) {
      const Tensor f32 = model(x), simulated = q.simulate(x), answer = network(x);
      simulation.add(f32, simulated);
      kernels.add(simulated, answer);
      both.add(f32, answer);
    }
    INFO(name << ": simulation to f32 " << simulation.db() << " dB, kernels to simulation " << kernels.db()
              << " dB, kernels to f32 " << both.db() << " dB");
    // Sums are rounded at other places, so here and there a value falls to the next integer, and what follows with it:
    // int8_layers_test.cc tells layer by layer.
    CHECK(kernels.db() > simulation.db() + 1);
    CHECK(both.db() > simulation.db() - 1);
    if (!kernels::simd::has_int8()) continue;
    // Nothing between the first layer and the last is in f32 but the mean at the end and ResNet's maximum.
    int in_f32 = 0;
    for (const infer::Plan::StepInfo& s : network.plan({1, 64, 64, 3}).steps()) in_f32 += s.type == "f32" ? 1 : 0;
    CHECK(in_f32 <= 2);
  }
}

TEST_CASE("layers go back to f32 until the logits are as near as asked for", "[quantize]") {
  const NoGrad no_grad;
  const Model model = small_model();
  const std::vector<Tensor> pictures = batches(64);
  infer::QuantizeOptions options;
  options.most_loss = 1;
  const infer::QuantizeReport all = infer::quantize(model, pictures, options).report();
  for (const infer::QuantizedLayer& l : all.layers) {
    INFO(l.name);
    CHECK(l.quantized);
    CHECK(l.reason.empty());
    CHECK(l.alone_db < 90);
    CHECK(l.alone_db > 5);
    CHECK(l.weight_db > 25);
    CHECK(l.result_db > 3);
    CHECK(l.macs > 0);
  }
  CHECK(all.bytes < all.f32_bytes * 0.30);
  CHECK(all.pictures == 12);
  CHECK(all.held_out.pictures == 4);
  // Small margins: noise on the pictures makes few logits stand out.
  CHECK(all.expected_loss == all.all_integer_loss);
  REQUIRE(all.expected_loss > 0);
  options.most_loss = all.expected_loss / 2;
  options.keep_f32 = {"classifier"};
  const infer::QuantizedModel mixed = infer::quantize(model, pictures, options);
  // What is not in integers may be in bf16 as well: about as near to the model.
  const Tensor want = model(pictures[1]);
  const double in_f32_db = infer::signal_to_noise(want, mixed.network()(pictures[1])),
               in_bf16_db = infer::signal_to_noise(want, mixed.network(DType::bf16)(pictures[1])),
               all_bf16_db = infer::signal_to_noise(want, infer::compile_network(model, DType::bf16)(pictures[1]));
  INFO("the rest in f32 " << in_f32_db << " dB, in bf16 " << in_bf16_db << " dB, all in bf16 " << all_bf16_db << " dB");
  const auto power = [](double db) { return std::pow(10.0, -db / 10); };
  CHECK(power(in_bf16_db) < 1.6 * (power(in_f32_db) + power(all_bf16_db)));
  const infer::QuantizeReport& some = mixed.report();
  CHECK(some.expected_loss <= options.most_loss);
  CHECK(some.held_out.db > all.held_out.db);
  const auto in_f32 = std::count_if(some.layers.begin(), some.layers.end(), [](const auto& l) { return !l.quantized; });
  CHECK(in_f32 > 1);
  CHECK(in_f32 < static_cast<std::ptrdiff_t>(some.layers.size()) / 2);
  for (const infer::QuantizedLayer& l : some.layers) CHECK(l.quantized == l.reason.empty());
  CHECK_THROWS_AS(infer::quantize(model, {}, options), Error);
}

TEST_CASE("the loss to expect is that of every picture with every error", "[quantize]") {
  // The first picture is sure of class 0 by 2, the second of class 1 by 1.
  const Tensor logits = Tensor::from<float>({2, 3}, {2, 0, -9, 0, 1, -9});
  const Tensor want = Tensor::from<float>({2, 3}, {5, 5, 5, 1, 2, 3});
  const Tensor have = Tensor::from<float>({2, 3}, {5, 8, 5, 3, 2, 3});  // 3 more for class 1; 2 more for class 0
  const auto share = [](double a, double b, double c, double of) {
    return std::exp(of) / (std::exp(a) + std::exp(b) + std::exp(c));
  };
  const double first = share(2, 0, -9, 2) - share(2, 0, -9, 0), second = share(0, 1, -9, 1) - share(0, 1, -9, 0);
  CHECK(infer::expected_loss(logits, want, have) == Approx((first + second) / 4).epsilon(1e-6));
  CHECK(infer::expected_loss(logits, want, want) == 0);
  CHECK(infer::expected_loss(logits, want, have, 0.6) == Approx(second / 4).epsilon(1e-6));
  CHECK(infer::tolerable_factor(logits, want, have, second / 4) == Approx(2.0 / 3).epsilon(0.01));
  CHECK(infer::tolerable_factor(logits, want, have, 0) == Approx(0.5).epsilon(0.01));
  CHECK(infer::tolerable_factor(logits, want, have, 1) > 0.99);
}

TEST_CASE("a quarter of the pictures is kept to judge by", "[quantize]") {
  const std::vector<Tensor> pictures{noise({8, 2, 2, 1}, 1), noise({5, 2, 2, 1}, 2), noise({1, 2, 2, 1}, 3)};
  const auto [seen, unseen] = infer::hold_out(pictures);
  REQUIRE(seen.size() == 3);
  REQUIRE(unseen.size() == 2);
  CHECK(seen[0].dim(0) == 6);
  CHECK(seen[1].dim(0) == 4);
  CHECK(unseen[0].dim(0) == 2);
  CHECK(unseen[1].to_vector<float>() == pictures[1].slice(4, 5).to_vector<float>());
  const auto [one, same] = infer::hold_out(std::span(pictures).last(1));
  CHECK(one.size() == 1);
  CHECK(same.size() == 1);
}

TEST_CASE("agreement of logits", "[quantize]") {
  const Tensor a = Tensor::from<float>({2, 6}, {5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 1});
  const Tensor b = Tensor::from<float>({2, 6}, {4, 5, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0});
  const infer::Agreement c = infer::agreement(a, b);
  CHECK(c.pictures == 2);
  CHECK(c.top1 == 0);
  CHECK(c.top5 == 0.5);  // the second picture's best class is the sixth
  CHECK(c.cosine == Approx(0.5 * 54 / 55));
  CHECK(infer::agreement(a, a).top1 == 1);
  CHECK(infer::signal_to_noise(column({1, 1}), column({1, 1.1f})) == Approx(10 * std::log10(2 / 0.01)).epsilon(1e-5));
}

TEST_CASE("a quantised network in a file answers the same", "[quantize]") {
  const NoGrad no_grad;
  Model model = small_model();
  model.class_names.assign(20, "thing");
  for (int i = 0; i < 20; ++i) model.class_names[static_cast<std::size_t>(i)] += std::to_string(i);
  const std::vector<Tensor> pictures = batches(64, 2);
  infer::QuantizeOptions options;
  options.keep_f32 = {"block_2.depthwise.conv"};
  const infer::QuantizedModel q = infer::quantize(model, pictures, options);
  const std::string path = (std::filesystem::temp_directory_path() / "fovea_quantize_test.fovea").string();
  infer::save(q, path);
  infer::Network read = infer::load(path), written = q.network();
  const Tensor want = written(pictures[0]), have = read(pictures[0]);
  CHECK(want.to_vector<float>() == have.to_vector<float>());
  CHECK(read.class_names() == model.class_names);
  if (kernels::simd::has_int8()) {
    CHECK(read.dtype() == DType::i8);
    CHECK(read.plan(read.input_shape()).describe().find("int8") != std::string::npos);
  }
  // A byte a weight and little else.
  CHECK(std::filesystem::file_size(path) < q.report().bytes + 40'000);
  std::filesystem::remove(path);
}

TEST_CASE("a network whose values all but vanish can be saved and read", "[quantize]") {
  const NoGrad no_grad;
  // Weights that nobody trained: behind 27 layers 1e-11 is left of the picture.
  const Model model = models::create("mobilenet_v1", {.classes = 20, .image_size = 32, .width = 0.25});
  const infer::QuantizedModel q = infer::quantize_on_noise(model);
  const std::string path = (std::filesystem::temp_directory_path() / "fovea_vanishing_test.fovea").string();
  infer::save(q, path);
  const Tensor x = noise({1, 32, 32, 3}, 72);
  CHECK(infer::load(path)(x).to_vector<float>() == q.network()(x).to_vector<float>());
  std::filesystem::remove(path);
  CHECK(infer::quantization_of({0, 1e-30}).scale > infer::kLeastScale);
  CHECK(infer::quantization_of({-1e30, 1e30}).scale < infer::kLargestScale);
}

TEST_CASE("without pictures a network is calibrated on noise", "[quantize]") {
  const NoGrad no_grad;
  const Model model = small_model();
  const infer::QuantizedModel q = infer::quantize_on_noise(model);
  for (const infer::QuantizedLayer& l : q.report().layers) CHECK(l.quantized);
  const Tensor x = noise({1, 64, 64, 3}, 71);
  CHECK(infer::signal_to_noise(model(x), q.network()(x)) > 5);
  CHECK(q.simulate(x).to_vector<float>() == infer::quantize_on_noise(model).simulate(x).to_vector<float>());
}
