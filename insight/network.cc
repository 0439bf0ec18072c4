#include "insight/network_internal.h"

#include <algorithm>
#include <set>

#include "core/autograd/modes.h"
#include "core/autograd/tape.h"
#include "core/error.h"
#include "models/graph_module.h"
#include "models/load.h"
#include "models/trace.h"

namespace fovea::insight {
namespace {

std::size_t at(int value) { return static_cast<std::size_t>(value); }

bool below(const std::string& scope, const std::string& path) {
  return scope.starts_with(path) && (scope.size() == path.size() || scope[path.size()] == '.');
}

bool is_pool(const OpList::Node& node) { return node.op->type().find("pool") != std::string_view::npos; }

/// The nodes that the outputs need, in order.
void prune(OpList& list) {
  std::vector<char> needed(list.values.size(), 0);
  for (const int v : list.outputs) needed[at(v)] = 1;
  std::vector<OpList::Node> kept;
  for (auto node = list.nodes.rbegin(); node != list.nodes.rend(); ++node) {
    if (std::none_of(node->outputs.begin(), node->outputs.end(), [&](int v) { return needed[at(v)]; })) continue;
    for (const int v : node->inputs) {
      if (v >= 0) needed[at(v)] = 1;
    }
    kept.push_back(std::move(*node));
  }
  std::reverse(kept.begin(), kept.end());
  list.nodes = std::move(kept);
}

}  // namespace

std::vector<Tensor> Cut::run_lower(const Tensor& x) const {
  if (fast_lower) return {fast_lower(x)};
  const NoGrad no_grad;
  const InferenceMode inference;
  return lower.run({&x, 1});
}

Tensor Cut::run_upper(const std::vector<Tensor>& in) const {
  const NoGrad no_grad;
  const InferenceMode inference;
  return upper.run(in)[0];
}

Network::Network(const Model& model) : model_(model), list_(models::without_fused_activations(model.capture())) {
  for (OpList::Value& value : list_.values) {
    // The same memory without the wish for a gradient: backward then computes those of activations only.
    if (value.tensor.defined()) value.tensor = value.tensor.view_as(value.tensor.shape());
  }
  const Shape& result = list_.values[at(list_.outputs.at(0))].spec.shape;
  model_.preprocessing.mirrored = false;  // what is explained is the picture as it is
  if (list_.outputs.size() != 1 || result.rank() != 2 || result.dim(1) < 1) {
    throw Error(ErrorKind::usage, "explain", str("the model's result is ", result, ", expected [N, classes]"),
                "only classifiers can be explained");
  }
  classes_ = static_cast<int>(result.dim(1));
}

Tensor Network::logits(const Tensor& x) {
  if (!forward_) forward_ = infer::fast_forward(model_);
  return forward_(x);
}

bool Network::is_map(int value) const {
  const OpList::Value& v = list_.values[at(value)];
  return v.kind == OpList::ValueKind::intermediate && v.spec.shape.rank() == 4;
}

std::string Network::name_of(int value) const {
  for (const OpList::Node& node : list_.nodes) {
    if (std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end()) return node.scope;
  }
  return {};
}

std::vector<std::string> Network::layers() const {
  std::vector<std::string> names;
  for (const OpList::Node& node : list_.nodes) {
    if (!is_map(node.outputs[0]) || node.scope.empty()) continue;
    std::erase(names, node.scope);  // a module's last op gives its result
    names.push_back(node.scope);
  }
  return names;
}

int Network::value_of(const std::string& layer) const {
  if (layer.empty()) {
    const OpList::Node* last = nullptr;
    for (const OpList::Node& node : list_.nodes) {
      // Squeeze and excitation, and classifiers spelled as convolutions, have no extent.
      if (node.op->type() != "conv2d" || !is_map(node.outputs[0])) continue;
      const Shape& s = list_.values[at(node.outputs[0])].spec.shape;
      if (s.dim(1) * s.dim(2) > 1) last = &node;
    }
    if (!last) {
      throw Error(ErrorKind::usage, "explain", "the network has no convolution with an extent to look at",
                  "name a layer, or take a method that needs none: occlusion, lime, integrated-gradients");
    }
    // The convolution's norm and activation, the sum or concatenation that it goes into: what keeps its extent.
    const Shape& size = list_.values[at(last->outputs[0])].spec.shape;
    int found = last->outputs[0];
    for (const OpList::Node* node = last; node != list_.nodes.data() + list_.nodes.size(); ++node) {
      if (!is_map(node->outputs[0]) || is_pool(*node)) continue;
      const Shape& s = list_.values[at(node->outputs[0])].spec.shape;
      if (s.dim(1) == size.dim(1) && s.dim(2) == size.dim(2)) found = node->outputs[0];
    }
    return found;
  }
  const auto find = [&](const std::string& path, bool own) {
    int value = -1;
    for (const OpList::Node& node : list_.nodes) {
      if (!(own ? node.scope == path : below(node.scope, path)) || !is_map(node.outputs[0])) continue;
      value = node.outputs[0];
      if (own) break;
    }
    return value;
  };
  int value = find(layer, false);
  if (value < 0 && !model_.architecture.empty() && model_.options.layout) {
    for (const models::SourceName& name : models::source_names(model_, *model_.options.layout)) {
      if (name.source == layer) value = std::max(value, find(name.module, name.has_tensors));
    }
  }
  if (value < 0) {
    std::string hint = "the last are: ";
    const std::vector<std::string> names = layers();
    for (std::size_t i = names.size() > 6 ? names.size() - 6 : 0; i < names.size(); ++i)
      hint += str(hint.ends_with(' ') ? "" : ", ", names[i]);
    throw Error(ErrorKind::usage, "explain", str("there is no layer '", layer, "' with a feature map"),
                names.empty() ? std::string() : hint + "; `fovea summary` lists all");
  }
  return value;
}

std::string Network::default_layer() const { return name_of(value_of({})); }

const Cut& Network::cut(const std::string& layer) {
  const int value = value_of(layer);
  std::unique_ptr<Cut>& cut = cuts_[value];
  if (cut) return *cut;
  auto made = std::make_unique<Cut>();
  made->layer = name_of(value);
  made->lower = list_;
  made->upper = list_;
  made->lower.nodes.clear();
  made->upper.nodes.clear();
  std::vector<char> above(list_.values.size(), 0), is_lower(list_.values.size(), 0);
  above[at(value)] = 1;
  for (const int v : list_.inputs) is_lower[at(v)] = 1;
  std::vector<int> boundary{value};
  for (const OpList::Node& node : list_.nodes) {
    const bool up = std::any_of(node.inputs.begin(), node.inputs.end(), [&](int v) { return v >= 0 && above[at(v)]; });
    for (const int v : node.outputs) (up ? above : is_lower)[at(v)] = 1;
    if (!up) {
      made->lower.nodes.push_back(node);
      continue;
    }
    made->upper.nodes.push_back(node);
    for (const int v : node.inputs) {
      if (v >= 0 && is_lower[at(v)] && std::find(boundary.begin(), boundary.end(), v) == boundary.end())
        boundary.push_back(v);
    }
  }
  if (!above[at(list_.outputs[0])]) {
    throw Error(ErrorKind::usage, "explain", str("the result of the network does not depend on layer '", layer, "'"));
  }
  made->lower.outputs = boundary;
  prune(made->lower);
  made->upper.inputs = boundary;
  prune(made->upper);
  for (const int v : boundary) made->upper.values[at(v)].kind = OpList::ValueKind::input;
  if (boundary.size() == 1) {
    Model lower(std::make_shared<GraphModule>(made->lower, std::map<std::string, ParameterRole>{}));
    lower.preprocessing = model_.preprocessing;
    made->fast_lower = infer::fast_forward(lower);
  }
  cut = std::move(made);
  return *cut;
}

Network::Gradient Network::input_gradient(const Tensor& x, int target) {
  if (x.dtype() != DType::f64) return gradient(list_, {x}, target);
  if (double_list_.nodes.empty()) {
    double_list_ = list_;
    for (OpList::Value& value : double_list_.values) {
      if (value.tensor.defined() && is_floating(value.tensor.dtype())) value.tensor = value.tensor.to(DType::f64);
    }
  }
  return gradient(double_list_, {x}, target);
}

Network::Gradient Network::gradient(const OpList& list, const std::vector<Tensor>& inputs, int target) {
  const InferenceMode inference;
  std::vector<Tensor> in = inputs;
  in[0] = in[0].view_as(in[0].shape());
  in[0].set_requires_grad();
  Tape tape;
  if (!is_recording()) {
    throw Error(ErrorKind::usage, "explain", "this method needs gradients, and a NoGrad is alive on this thread",
                "explain outside of it");
  }
  Gradient out;
  out.logits = list.run(in)[0];
  Tensor seed = Tensor::zeros(out.logits.shape(), out.logits.dtype());
  for (std::int64_t n = 0; n < seed.dim(0); ++n) {
    Tensor one = seed.slice(n, n + 1).view_as(Shape{seed.dim(1)}).slice(target, target + 1);
    one.fill(1);
  }
  tape.backward(out.logits, seed);
  out.gradient = in[0].grad();
  return out;
}

}  // namespace fovea::insight
