// Shape rules of the small runtime against those of the op classes, which are the oracle.
#include <cmath>

#include "catch.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/graph/op_list.h"
#include "infer/compile/compile.h"
#include "infer/graph/graph_internal.h"
#include "layers/modules.h"
#include "layers/ops.h"
#include "models/model.h"
#include "models/options.h"

using namespace fovea;

namespace {

/// Every value of the op list has its shape in the graph; those that nodes of the fused graph make keep it.
void check_shapes(const OpList& list, const Shape& input) {
  const TensorSpec spec{input, DType::f32};
  const std::vector<TensorSpec> want = list.infer({&spec, 1});
  infer::Graph graph = infer::make_graph(list.records());
  const auto agree = [&](const std::vector<Shape>& got, int v) {
    INFO("value " << v << " of " << input.to_string());
    CHECK(got[static_cast<std::size_t>(v)] == want[static_cast<std::size_t>(v)].shape);
  };
  const std::vector<Shape> whole = infer::shapes_of(graph, input);
  for (const infer::Node& node : graph.nodes) {
    for (const int v : node.inputs) agree(whole, v);
    agree(whole, node.output);
  }
  agree(whole, graph.output);
  infer::fold_norms(graph);
  infer::fuse_epilogues(graph);
  const std::vector<Shape> fused = infer::shapes_of(graph, input);
  for (const infer::Node& node : graph.nodes) {
    for (const int v : node.inputs) agree(fused, v);
    agree(fused, node.output);
  }
  agree(fused, graph.output);
}

class Reshapes final : public Module {
 public:
  Reshapes() {
    conv_ = register_module("conv", std::make_shared<Conv2d>(3, 8, Conv2dOptions{.kernel = 3}));
    last_ = register_module("last", std::make_shared<Conv2d>(8, 4, Conv2dOptions{.kernel = 1}));
    dense_ = register_module("dense", std::make_shared<Dense>(4 * 24, 5));
  }
  std::string_view kind() const override { return "Reshapes"; }
  Tensor forward(const Tensor& x) override {
    const std::int64_t apart[] = {0, 2, 6, -1}, joined[] = {-1, 96};
    const Tensor a = reshape(relu(conv_->forward(x)), apart);  // [N, 4, 3, 8] → [N, 2, 6, 8]
    const Tensor b = identity(reshape(relu6(flatten(a)), apart));
    const Tensor c = relu(flatten(last_->forward(concat(std::vector<Tensor>{b, a}, 1))));  // a relu of another shape
    return relu6(identity(dense_->forward(reshape(softmax(c), joined))));
  }

 private:
  ModulePtr conv_, last_, dense_;
};

}  // namespace

TEST_CASE("shapes of a graph are those of its op list", "[infer]") {
  const NoGrad no_grad;
  struct Case {
    const char* name;
    int size;
  };
  for (const Case& c :
       {Case{"mobilenet_v1", 224}, Case{"mobilenet_v2", 224}, Case{"mobilenet_v3_small", 224},
        Case{"mobilenet_v3_large", 224}, Case{"efficientnet_b0", 224}, Case{"efficientnet_lite0", 224},
        Case{"resnet18", 224}, Case{"resnet50", 224}, Case{"inception_v3", 299}, Case{"small_cnn", 28}}) {
    models::Options options;
    options.width = std::string_view(c.name).starts_with("mobilenet") ? 0.5 : 1.0;
    options.image_size = c.size;
    options.classes = 7;
    const Model model = models::create(c.name, options);
    const std::int64_t channels = model.preprocessing.channels;
    const OpList list = model.capture(1);
    INFO(c.name);
    check_shapes(list, {1, c.size, c.size, channels});
    check_shapes(list, {0, c.size, c.size, channels});
    if (std::string_view(c.name) == "small_cnn") continue;
    for (const std::int64_t h : {97, 160, 225, 301}) check_shapes(list, {3, h, h + 14, channels});
  }
}

TEST_CASE("reshapes keep what stands before them to themselves", "[infer]") {
  const NoGrad no_grad;
  Model model(std::make_shared<Reshapes>());
  model.preprocessing.height = 6;
  model.preprocessing.width = 5;
  const OpList list = model.capture(1);
  check_shapes(list, {1, 6, 5, 3});
  check_shapes(list, {4, 6, 5, 3});
  check_shapes(list, {1, 5, 6, 3});
  Tensor x({2, 6, 5, 3});
  for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 13) - 6;
  const Tensor got = infer::compile(model, {.input = x.shape()})(x), want = model(x);
  for (std::int64_t i = 0; i < want.numel(); ++i) CHECK(std::abs(got.data<float>()[i] - want.data<float>()[i]) < 1e-5f);
}

TEST_CASE("a graph refuses pictures that do not fit", "[infer]") {
  const NoGrad no_grad;
  const Model model = models::create("mobilenet_v2", {.classes = 5, .image_size = 96});
  infer::Graph graph = infer::make_graph(model.capture(1).records());
  for (const Shape& wrong : {Shape{1, 96, 96, 4}, Shape{96, 96, 3}, Shape{1, 0, 0, 3}, Shape{}}) {
    INFO(wrong.to_string());
    CHECK_THROWS_AS(infer::shapes_of(graph, wrong), Error);
  }
}
