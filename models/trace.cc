#include "models/trace.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/autograd/modes.h"
#include "layers/register_ops.h"

namespace fovea::models {
namespace {

bool below(const std::string& scope, const std::string& path) {
  return scope.starts_with(path) && (scope.size() == path.size() || scope[path.size()] == '.');
}

std::string activation_scope(const std::string& scope) {
  if (scope.ends_with(".bn")) return scope.substr(0, scope.size() - 2) + "act";
  return scope.empty() ? "act" : scope + ".act";
}

/// The result of the module at `path`: of its own op where it has tensors, else of the last op at or below the path.
int value_of(const OpList& list, const std::string& path, bool own) {
  int value = -1;
  for (const OpList::Node& node : list.nodes) {
    if (own ? node.scope == path : below(node.scope, path)) {
      value = node.outputs[0];
      if (own) break;
    }
  }
  return value;
}

}  // namespace

OpList without_fused_activations(const OpList& list) {
  register_ops();
  OpList out = list;
  out.nodes.clear();
  for (OpList::Node node : list.nodes) {
    const Attributes attributes = node.op->attributes();
    const std::string_view type = node.op->type();
    const bool fused = attributes.has("activation") && node.outputs.size() == 1;
    if (!fused) {
      out.nodes.push_back(std::move(node));
      continue;
    }
    Attributes plain, activation;
    for (const auto& [name, value] : attributes.all()) {
      if (name == "alpha") activation.set(name, value);
      if (name != "activation" && name != "alpha") plain.set(name, value);
    }
    OpList::Node second;
    second.op = make_op(attributes.get_string("activation"), activation);
    second.scope = activation_scope(node.scope);
    second.outputs = node.outputs;
    const int between = static_cast<int>(out.values.size());
    out.values.push_back(
        {OpList::ValueKind::intermediate, list.values[static_cast<std::size_t>(node.outputs[0])].spec, {}, {}});
    second.inputs = {between};
    node.op = make_op(type, plain);
    node.outputs = {between};
    out.nodes.push_back(std::move(node));
    out.nodes.push_back(std::move(second));
  }
  return out;
}

Trace trace(const Model& model, const Tensor& x, Layout layout, bool all) {
  const NoGrad no_grad;
  const InferenceMode inference;
  OpList list = without_fused_activations(model.capture(x.dim(0), x.dtype()));
  std::vector<std::pair<std::string, int>> wanted;
  if (all && layout == Layout::fovea) {
    std::set<std::string> paths;
    for (const OpList::Node& node : list.nodes) {
      // Every module on the way down to the op.
      for (std::size_t dot = node.scope.find('.'); dot != std::string::npos; dot = node.scope.find('.', dot + 1))
        paths.insert(node.scope.substr(0, dot));
      paths.insert(node.scope);
    }
    for (const std::string& path : paths) wanted.emplace_back(path, value_of(list, path, false));
  } else if (all) {
    std::map<std::string, int> values;  // a later name for the same path of theirs takes precedence
    std::vector<std::string> order;
    for (const SourceName& name : source_names(model, layout)) {
      const int v = value_of(list, name.module, name.has_tensors);
      if (v < 0) continue;
      if (!values.contains(name.source)) order.push_back(name.source);
      values[name.source] = v;
    }
    for (const std::string& name : order) wanted.emplace_back(name, values[name]);
  }
  std::stable_sort(wanted.begin(), wanted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  int features = -1;
  for (const OpList::Node& node : list.nodes) {
    if (below(node.scope, "pool")) break;
    if (list.values[static_cast<std::size_t>(node.outputs[0])].spec.shape.rank() == 4) features = node.outputs[0];
  }
  if (features >= 0) list.outputs.push_back(features);
  for (const auto& [name, value] : wanted) list.outputs.push_back(value);
  const std::vector<Tensor> results = list.run({&x, 1});
  Trace out;
  out.result = results[0];
  std::size_t next = 1;
  if (features >= 0) out.features = results[next++];
  for (const auto& [name, value] : wanted) out.activations.emplace_back(name, results[next++]);
  return out;
}

}  // namespace fovea::models
