// Networks from files: the same answers as the model's, from model files and from compiled ones, and damage is refused.
#include "infer/graph/network.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "core/rng.h"
#include "image/views.h"
#include "infer/compile/compile.h"
#include "infer/graph/network_file_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "models/options.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;

namespace {

struct TemporaryFile {
  TempFolder folder;
  std::string path = folder / "m.fovea";
};

Tensor noise(const Shape& shape, std::uint64_t seed) {
  Tensor x(shape);
  Rng rng(seed, "network_test");
  for (float *p = x.mutable_data<float>(), *end = p + x.numel(); p != end; ++p) *p = static_cast<float>(rng.normal());
  return x;
}

/// A network whose batch norms do something.
Model network(const char* name, int size, double width = 1) {
  models::Options options;
  options.classes = 7;
  options.image_size = size;
  options.width = width;
  Model model = models::create(name, options);
  Rng rng(3, "network_test");
  for (const NamedTensor& named : model.network().named_tensors()) {
    if (!named.is_buffer && named.role != ParameterRole::norm) continue;
    Tensor t = named.tensor;
    for (float *v = t.mutable_data<float>(), *end = v + t.numel(); v != end; ++v)
      *v = *v * static_cast<float>(0.5 + rng.uniform()) + 0.01f * static_cast<float>(rng.uniform());
  }
  model.class_names = {"a", "ü", "c\"\n", "d", "e", "f", "g"};
  return model;
}

std::vector<float> answers(infer::Network& network, const Tensor& x) { return network(x).to_vector<float>(); }

/// A quantised graph of every kind of node, with an addition and reshapes.
infer::NetworkFile quantised() {
  infer::NetworkFile network;
  infer::Graph& g = network.graph;
  network.preprocessing.width = network.preprocessing.height = 9;
  network.class_names = {"x", "y"};
  network.architecture = "own";
  g.input_shape = {1, 9, 9, 3};
  g.memory = {0, 1, 2, 2, 4, 5, 6, 7};
  g.aliases.resize(8);
  g.aliases[3] = {infer::Alias::Rule::same, 2, {}};
  infer::Node conv;
  conv.kind = infer::Kind::conv2d;
  conv.name = "stem";
  conv.inputs = {0};
  conv.output = 1;
  conv.weight = Tensor::zeros({3, 3, 3, 4}, DType::i8);
  for (std::int64_t i = 0; i < 108; ++i) conv.weight.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(i - 50);
  conv.weight_shape = conv.weight.shape();
  conv.weight_scale = noise({4}, 1);
  for (int i = 0; i < 4; ++i) conv.weight_scale.mutable_data<float>()[i] = 0.01f + 0.001f * static_cast<float>(i);
  conv.bias = noise({4}, 2);
  conv.conv.padding = kernels::Padding::tf_same();
  conv.conv.stride = {2, 1};
  conv.activation = {kernels::Activation::leaky_relu, 0.2};
  conv.fused = {"batch_norm", "leaky_relu"};
  g.nodes.push_back(conv);
  conv.name = "second";
  conv.inputs = {1};
  conv.output = 2;
  conv.weight = noise({1, 1, 4, 4}, 3);
  conv.weight_shape = conv.weight.shape();
  conv.weight_scale = Tensor();
  conv.bias = Tensor();
  conv.conv = {};
  conv.activation = {kernels::Activation::none};
  conv.fused = {};
  g.nodes.push_back(conv);
  conv.name = "third";
  conv.inputs = {3, 1};
  conv.residual = true;
  conv.output = 4;
  g.nodes.push_back(conv);
  infer::Node pool;
  pool.kind = infer::Kind::pool2d;
  pool.inputs = {4};
  pool.output = 5;
  pool.pool = {kernels::PoolKind::average, {3, 2}, {2, 2}, kernels::Padding::sides(1, 0, 0, 1), true, true};
  g.nodes.push_back(pool);
  infer::Node norm;
  norm.kind = infer::Kind::scale_shift;
  norm.inputs = {5};
  norm.output = 6;
  norm.weight = noise({4}, 4);
  norm.bias = noise({4}, 5);
  norm.weight_shape = {4};
  norm.activation = {kernels::Activation::hard_swish};
  g.nodes.push_back(norm);
  infer::Node mean;
  mean.kind = infer::Kind::adaptive_average_pool;
  mean.inputs = {6};
  mean.output = 7;
  mean.size = {2, 1};
  g.nodes.push_back(mean);
  g.output = 7;
  g.quantization.resize(8);
  g.quantization[0] = {1.0f / 255, 114};
  g.quantization[1] = {0.1f, 0};
  return network;
}

}  // namespace

TEST_CASE("a mirrored model answers for the picture and its mirror image, from a file as well", "[infer]") {
  const NoGrad no_grad;
  const TemporaryFile file;
  Model model = network("mobilenet_v2", 64);
  const Tensor x = noise({2, 64, 64, 3}, 5), turned = image::mirrored(x);
  infer::Network plain = infer::compile_network(model);
  std::vector<float> want = answers(plain, x);
  const std::vector<float> other = answers(plain, turned);
  CHECK(want != other);
  for (std::size_t i = 0; i < want.size(); ++i) want[i] = (want[i] + other[i]) / 2;
  model.preprocessing.mirrored = true;
  infer::Network both = infer::compile_network(model);
  CHECK(answers(both, x) == want);
  CHECK(answers(both, turned) == want);
  CHECK(infer::fast_forward(model)(x).to_vector<float>() == want);
  infer::save(model, file.path);
  infer::Network loaded = infer::load(file.path);
  CHECK(answers(loaded, x) == want);
  // Of one view, as it lies.
  CHECK(loaded.plan(x.shape())(x).to_vector<float>() == answers(plain, x));
}

TEST_CASE("a network from a file answers as the model compiled in memory, bit for bit", "[infer]") {
  const NoGrad no_grad;
  const TemporaryFile file;
  struct Case {
    const char* name;
    int size;
  };
  for (const Case& c :
       {Case{"mobilenet_v1", 64}, Case{"mobilenet_v2", 96}, Case{"mobilenet_v3_small", 64}, Case{"efficientnet_b0", 64},
        Case{"efficientnet_lite0", 64}, Case{"resnet18", 64}, Case{"inception_v3", 80}, Case{"small_cnn", 28}}) {
    INFO(c.name);
    const Model model = network(c.name, c.size);
    infer::Network compiled = infer::compile_network(model);
    const Tensor one = noise({1, c.size, c.size, model.preprocessing.channels}, 5);
    const std::vector<float> want = answers(compiled, one);
    for (const bool whole : {true, false}) {
      if (whole) {
        save(model, file.path);
      } else {
        infer::save(model, file.path);
      }
      infer::Network loaded = infer::load(file.path);
      std::filesystem::remove(file.path);  // nothing of it is needed any more
      CHECK(loaded.class_names() == model.class_names);
      CHECK(loaded.preprocessing() == model.preprocessing);
      CHECK(loaded.architecture() == c.name);
      CHECK(loaded.input_shape() == one.shape());
      CHECK(answers(loaded, one) == want);
      if (std::string_view(c.name) == "small_cnn") continue;  // of one size
      const Tensor other = noise({3, c.size + 7, c.size + 1, 3}, 6);
      CHECK(answers(loaded, other) == answers(compiled, other));
      const auto steps = loaded.plan(one.shape()).steps(), kept = compiled.plan(one.shape()).steps();
      REQUIRE(steps.size() == kept.size());
      for (std::size_t i = 0; i < steps.size(); ++i) {
        CHECK(steps[i].name == kept[i].name);
        CHECK(steps[i].op == kept[i].op);
      }
    }
  }
}

TEST_CASE("a compiled network computes in bf16 too, and takes pictures", "[infer]") {
  const NoGrad no_grad;
  const TemporaryFile file;
  const Model model = network("mobilenet_v2", 64, 0.35);
  infer::save(model, file.path);
  infer::Network loaded = infer::load(file.path, DType::bf16), compiled = infer::compile_network(model, DType::bf16);
  const Tensor x = noise({2, 64, 64, 3}, 5);
  CHECK(answers(loaded, x) == answers(compiled, x));
  image::Image picture(80, 70, 3);
  for (std::size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<std::uint8_t>(i * 7);
  Tensor prepared({1, 64, 64, 3});
  image::to_floats(picture, model.preprocessing, prepared.mutable_data<float>());
  CHECK(loaded(picture).to_vector<float>() == answers(compiled, prepared));
  CHECK_THROWS_AS(infer::load(file.path, DType::f64), Error);
  CHECK_THROWS_AS(loaded(noise({1, 64, 64, 4}, 1)), Error);
  CHECK_THROWS_AS(infer::Network().class_names(), Error);
}

TEST_CASE("a network asked for in bf16 computes in f32 where that is faster", "[infer]") {
  const NoGrad no_grad;
  const Model model = network("mobilenet_v2", 64, 0.35);
  const Tensor x = noise({2, 64, 64, 3}, 5);
  infer::Network f32 = infer::compile_network(model);
  const kernels::simd::PretendBf16ProductsPay slower(false);
  infer::Network asked = infer::compile_network(model, DType::bf16);
  CHECK(asked.dtype() == DType::f32);
  CHECK(answers(asked, x) == answers(f32, x));
  if (!kernels::simd::has_bf16()) return;
  const kernels::simd::PretendBf16ProductsPay faster(true);
  infer::Network half = infer::compile_network(model, DType::bf16);
  CHECK(half.dtype() == DType::bf16);
  CHECK(answers(half, x) != answers(f32, x));
}

TEST_CASE("a compiled network is told from a model", "[infer]") {
  const TemporaryFile file;
  infer::save(network("small_cnn", 8), file.path);
  CHECK_THROWS_AS(load_model(file.path), Error);
  CHECK_THROWS_AS(infer::load(file.folder.path()), Error);
  CHECK_THROWS_AS(infer::load(file.path + ".missing"), Error);
}

TEST_CASE("quantised graphs come back as they were", "[infer]") {
  const TemporaryFile file;
  const infer::NetworkFile was = quantised();
  infer::write_network(was, file.path);
  const infer::NetworkFile is = infer::read_network(file.path);
  CHECK(is.class_names == was.class_names);
  CHECK(is.architecture == was.architecture);
  CHECK(is.preprocessing == was.preprocessing);
  CHECK(is.graph.input_shape == was.graph.input_shape);
  REQUIRE(is.graph.nodes.size() == was.graph.nodes.size());
  const auto same = [](const Tensor& a, const Tensor& b) {
    return a.defined() == b.defined() &&
           (!a.defined() || (a.spec() == b.spec() && std::memcmp(a.view().data, b.view().data, a.nbytes()) == 0));
  };
  for (std::size_t i = 0; i < is.graph.nodes.size(); ++i) {
    const infer::Node &a = was.graph.nodes[i], &b = is.graph.nodes[i];
    INFO(i);
    CHECK(a.kind == b.kind);
    CHECK(a.name == b.name);
    CHECK(same(a.weight, b.weight));
    CHECK(same(a.bias, b.bias));
    CHECK(same(a.weight_scale, b.weight_scale));
    CHECK(a.weight_shape == b.weight_shape);
    CHECK(a.conv == b.conv);
    CHECK((a.kind != infer::Kind::pool2d || a.pool == b.pool));
    CHECK(a.size == b.size);
    CHECK(a.residual == b.residual);
    CHECK(a.activation.kind == b.activation.kind);
    CHECK((a.activation.kind != kernels::Activation::leaky_relu || a.activation.alpha == b.activation.alpha));
    CHECK(a.fused == b.fused);
    CHECK(a.inputs.size() == b.inputs.size());
    // Values are numbered anew, but are kept the same way.
    const auto kept = [](const infer::Graph& g, int v) {
      const infer::Quantization q = g.quantization.at(static_cast<std::size_t>(g.root(v)));
      return std::pair(q.scale, q.zero);
    };
    CHECK(kept(was.graph, a.output) == kept(is.graph, b.output));
    for (std::size_t k = 0; k < a.inputs.size(); ++k)
      CHECK(kept(was.graph, a.inputs[k]) == kept(is.graph, b.inputs[k]));
  }
  CHECK(infer::shapes_of(is.graph, {2, 9, 9, 3}).at(static_cast<std::size_t>(is.graph.output)) ==
        infer::shapes_of(was.graph, {2, 9, 9, 3}).at(7));
}

TEST_CASE("a small network in int8 makes a small file", "[infer]") {
  const TemporaryFile file;
  models::Options options;
  options.classes = 10;
  options.image_size = 96;
  options.width = 0.35;
  const Model model = models::create("mobilenet_v2", options);
  infer::NetworkFile network{infer::make_graph(model.capture(1).records()), {}, {}, "mobilenet_v2"};
  for (int i = 0; i < 10; ++i) network.class_names.push_back("a class of birds " + std::to_string(i));
  infer::fold_norms(network.graph);
  infer::fuse_epilogues(network.graph);
  network.graph.quantization.assign(network.graph.memory.size(), {0.05f, 3});
  for (infer::Node& node : network.graph.nodes) {
    if (!node.weight.defined()) continue;
    node.weight = Tensor::zeros(node.weight_shape, DType::i8);
    node.weight_scale = Tensor::ones({node.weight_shape.dim(-1)});
  }
  infer::write_network(network, file.path);
  CHECK(std::filesystem::file_size(file.path) < 560'000);
  CHECK(infer::read_network(file.path).graph.nodes.size() == network.graph.nodes.size());
}

TEST_CASE("damaged networks are refused", "[infer]") {
  const TemporaryFile file;
  const auto refused = [&](const std::function<void(infer::NetworkFile&)>& damage) {
    infer::NetworkFile network = quantised();
    damage(network);
    infer::write_network(network, file.path);
    CHECK_THROWS_AS(infer::read_network(file.path), Error);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refused([&](auto& n) { n.graph.quantization[1].scale = nan; });
  refused([&](auto& n) { n.graph.quantization[1].scale = -1; });
  refused([&](auto& n) { n.graph.quantization[1].zero = 256; });
  refused([&](auto& n) { n.graph.quantization[0].scale = 0; });  // the operand of i8 weights
  refused([&](auto& n) { n.graph.quantization.clear(); });
  refused([&](auto& n) { n.graph.nodes[0].weight_scale.template mutable_data<float>()[2] = nan; });
  refused([&](auto& n) { n.graph.nodes[0].weight_scale = Tensor::ones({5}); });
  refused([&](auto& n) { n.graph.nodes[0].weight_scale = Tensor(); });
  refused([&](auto& n) { n.graph.nodes[0].weight = noise({3, 3, 3, 4}, 1); });  // f32 with scales
  refused([&](auto& n) { n.graph.nodes[0].bias = noise({5}, 1); });
  refused([&](auto& n) { n.graph.nodes[1].weight = noise({1, 1, 5, 4}, 1); });
  refused([&](auto& n) { n.graph.nodes[1].weight = noise({4, 4}, 1); });
  refused([&](auto& n) { n.graph.nodes[2].inputs[1] = 0; });  // adds the network's input
  refused([&](auto& n) { n.graph.nodes[0].fused = {"\33[31m"}; });
  refused([&](auto& n) { n.graph.nodes[4].weight = noise({4, 1}, 1); });
  refused([&](auto& n) { n.preprocessing.channels = 1; });
  refused([&](auto& n) { n.preprocessing.std[0] = 0; });
  // Cut off anywhere.
  infer::write_network(quantised(), file.path);
  const std::vector<std::uint8_t> good = read_file(file.path);
  for (std::size_t n = 0; n < good.size(); n += n < 64 ? 1 : 13) {
    auto cut = std::make_shared<std::vector<std::uint8_t>>(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n));
    REQUIRE_THROWS_AS(infer::read_network(*cut, cut, "cut"), Error);
  }
  // Another version.
  Safetensors whole = read_safetensors(file.path);
  for (auto& [key, value] : whole.metadata) {
    if (key == "fovea.compiled") value = "2";
  }
  write_safetensors(file.path + "2", whole.tensors, whole.metadata);
  CHECK_THROWS_AS(infer::load(file.path + "2"), Error);
}
