// Damaged networks for the small runtime: what is accepted must also be planned, and run where that is quick.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/io/file.h"
#include "fuzz/driver.h"
#include "infer/compile/compile.h"
#include "infer/graph/lower_internal.h"
#include "infer/graph/network_file_internal.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "layers/modules.h"
#include "layers/ops.h"

namespace {

using namespace fovea;

/// Every kind of node that files hold, small.
class Everything final : public Module {
 public:
  Everything() {
    stem_ = register_module("stem", std::make_shared<Conv2d>(3, 4, Conv2dOptions{.kernel = 3, .padding = 1}));
    norm_ = register_module("norm", std::make_shared<BatchNorm>(4));
    wide_ = register_module("wide", std::make_shared<Conv2d>(4, 4, Conv2dOptions{.kernel = 1}));
    deep_ = register_module("deep", std::make_shared<DepthwiseConv2d>(4, DepthwiseConv2dOptions{.kernel = 3}));
    head_ = register_module("head", std::make_shared<Dense>(16, 3));
  }
  std::string_view kind() const override { return "Everything"; }
  Tensor forward(const Tensor& x) override {
    const Tensor a = norm_->forward(stem_->forward(x)), b = relu6(a);
    const Tensor c = hard_swish(add(wide_->forward(b), a));
    const Tensor d = max_pool2d(affine(deep_->forward(c), 2, 1), {.window = {2, 2}, .stride = {1, 1}});
    const Tensor e = concat(std::vector<Tensor>{d, avg_pool2d(d, {.window = {1, 1}, .stride = {1, 1}})}, 3);
    const std::int64_t shape[] = {0, -1, 8};
    const Tensor f = flatten(reshape(adaptive_average_pool(multiply(e, e), {2, 1}), shape));
    return softmax(head_->forward(f));
  }

 private:
  ModulePtr stem_, norm_, wide_, deep_, head_;
};

std::string content(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

bool quick(const infer::Graph& graph) {
  double work = 0;
  const std::vector<Shape> shapes = infer::shapes_of(graph, graph.input_shape);
  for (const Shape& s : shapes) work += static_cast<double>(s.numel());
  for (const infer::Node& node : graph.nodes) {
    const double results = static_cast<double>(shapes[static_cast<std::size_t>(node.output)].numel());
    if (node.weight.defined())
      work += results * static_cast<double>(node.weight_shape.numel() / node.weight_shape.dim(-1));
    if (node.kind == infer::Kind::pool2d) work += results * node.pool.window.h * node.pool.window.w;
    if (node.kind == infer::Kind::adaptive_average_pool)
      work += results * static_cast<double>(shapes[static_cast<std::size_t>(node.inputs[0])].numel());
  }
  return work < 1e6;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  std::string folder = "/tmp/fovea-fuzz-XXXXXX";
  if (!mkdtemp(folder.data())) return {};
  const std::string path = folder + "/m.fovea";
  Model model(std::make_shared<Everything>());
  model.preprocessing.height = 7;
  model.preprocessing.width = 6;
  model.class_names = {"a", "b", "c"};
  std::vector<std::string> seeds;
  save(model, path);
  seeds.push_back(content(path));
  infer::save(model, path);
  seeds.push_back(content(path));
  // The same in integers wherever there are weights.
  infer::NetworkFile network = infer::read_network(path);
  network.graph.quantization.assign(network.graph.memory.size(), {0.05f, 3});
  for (infer::Node& node : network.graph.nodes) {
    if (node.kind != infer::Kind::conv2d && node.kind != infer::Kind::dense) continue;
    node.weight = Tensor(node.weight_shape, DType::i8);
    for (std::int64_t i = 0; i < node.weight.numel(); ++i)
      node.weight.mutable_data<std::int8_t>()[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
    node.weight_scale = Tensor::ones({node.weight_shape.dim(-1)});
  }
  infer::write_network(network, path);
  seeds.push_back(content(path));
  std::remove(path.c_str());
  std::remove(folder.c_str());
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(data, data + size);
  try {
    infer::NetworkFile file = infer::read_network(*bytes, bytes, "fuzz");
    const bool runs = quick(file.graph);
    const Shape input = file.graph.input_shape;
    for (const kernels::simd::Element element : {kernels::simd::Element::f32, kernels::simd::Element::bf16}) {
      if (element == kernels::simd::Element::bf16 && !kernels::simd::has_bf16()) continue;
      const auto lowered = infer::pack(file.graph, element);
      if (!runs) continue;
      infer::Plan plan(infer::plan_for(lowered, input));
      const Tensor result = plan(Tensor::ones(input));
    }
  } catch (const Error&) {
    // the right answer to damage
  }
  return 0;
}
