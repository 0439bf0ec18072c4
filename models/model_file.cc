// The model file: safetensors whose metadata holds the op list, architecture, preprocessing and class names. Any
// safetensors reader can take the weights; this one can run the network without the code that built it.
#include <nlohmann/json.hpp>
#include <set>

#include "core/graph/op_file.h"
#include "layers/register_ops.h"
#include "models/graph_module.h"
#include "models/model.h"

namespace fovea {

using nlohmann::json;

namespace {

json options_to_json(const models::Options& o) {
  return {{"classes", o.classes},
          {"image_size", o.image_size},
          {"channels", o.channels},
          {"seed", o.seed},
          {"width", o.width},
          {"depth", o.depth},
          {"layout", o.layout ? std::string(to_string(*o.layout)) : ""},
          {"variant", o.variant},
          {"top", static_cast<int>(o.top)}};
}

/// Fields of later additions may be missing.
models::Options options_from_json(const json& in) {
  models::Options o;
  o.classes = in.at("classes").get<int>();
  o.image_size = in.at("image_size").get<int>();
  o.channels = in.at("channels").get<int>();
  o.seed = in.at("seed").get<std::uint64_t>();
  o.width = in.value("width", 1.0);
  o.depth = in.value("depth", 1.0);
  const std::string layout = in.value("layout", "");
  if (!layout.empty()) o.layout = models::layout_from(layout);
  o.variant = in.value("variant", "");
  const int top = in.value("top", 0);
  if (top < 0 || top > 2) throw Error(ErrorKind::format, "model", "its options are damaged");
  o.top = static_cast<models::Top>(top);
  return o;
}

const char* role_name(const NamedTensor& named) {
  if (named.is_buffer) return "buffer";
  switch (named.role) {
    case ParameterRole::bias: return "bias";
    case ParameterRole::norm: return "norm";
    case ParameterRole::weight: break;
  }
  return "weight";
}

}  // namespace

void save(const Model& model, const std::string& path) {
  OpList list = model.capture();
  std::vector<std::pair<std::string, Tensor>> tensors;
  json roles = json::object();
  std::set<std::string> used;
  for (const OpList::Value& value : list.values) {
    if (value.kind != OpList::ValueKind::parameter) continue;
    used.insert(value.name);
  }
  // Only what the op list reads is stored; the network may hold more (an auxiliary head).
  OpList stored;
  std::vector<int> position(list.values.size(), -1);
  const auto keep = [&](int v) {
    if (v < 0) return -1;
    int& p = position[static_cast<std::size_t>(v)];
    if (p < 0) {
      p = static_cast<int>(stored.values.size());
      stored.values.push_back(list.values[static_cast<std::size_t>(v)]);
    }
    return p;
  };
  for (const int v : list.inputs) stored.inputs.push_back(keep(v));
  for (OpList::Node node : list.nodes) {
    for (int& v : node.inputs) v = keep(v);
    for (int& v : node.outputs) v = keep(v);
    stored.nodes.push_back(std::move(node));
  }
  for (const int v : list.outputs) stored.outputs.push_back(keep(v));
  for (const OpList::Value& value : stored.values) {
    if (value.kind == OpList::ValueKind::parameter) tensors.emplace_back(value.name, value.tensor);
  }
  for (const NamedTensor& named : model.network().named_tensors()) {
    if (used.contains(named.name)) roles[named.name] = role_name(named);
  }
  write_safetensors(path, tensors,
                    {{"format", "fovea"},
                     {"fovea.version", std::to_string(kModelFileVersion)},
                     {"fovea.architecture", model.architecture},
                     {"fovea.options", options_to_json(model.options).dump()},
                     {"fovea.preprocessing", to_json(model.preprocessing)},
                     {"fovea.class_names", json(model.class_names).dump()},
                     {"fovea.roles", roles.dump()},
                     {"fovea.ops", stored.to_json()}});
}

Model load_model(const std::string& path) {
  register_ops();
  const Safetensors file = read_safetensors(path);
  const auto field = [&](const char* key) -> const std::string& { return model_field(file, key, path); };
  if (file.find_metadata("fovea.compiled")) {
    throw Error(ErrorKind::format, path, "is a compiled network, which gives answers and nothing else",
                "take the model file that it was made from");
  }
  try {
    OpList list = OpList::from_records(read_op_records(file, path));
    // Copied out of the mapping: training writes in place, and the file may be replaced meanwhile.
    for (OpList::Value& value : list.values) {
      if (value.tensor.defined()) value.tensor = value.tensor.clone();
    }
    std::map<std::string, ParameterRole> roles;
    const json role_names = json::parse(field("fovea.roles"));  // outlives the loop: items() only refers to it
    for (const auto& [name, role] : role_names.items()) {
      const std::string text = role.get<std::string>();
      if (text == "weight") roles[name] = ParameterRole::weight;
      if (text == "bias") roles[name] = ParameterRole::bias;
      if (text == "norm") roles[name] = ParameterRole::norm;
    }
    const image::Preprocessing preprocessing = image::preprocessing_from_json(field("fovea.preprocessing"));
    // The ops' own shape rules are the check that the stored network is whole.
    const TensorSpec input{{1, preprocessing.height, preprocessing.width, preprocessing.channels}, DType::f32};
    const std::vector<TensorSpec> specs = list.infer({&input, 1});
    Model model(std::make_shared<GraphModule>(std::move(list), roles));
    model.preprocessing = preprocessing;
    model.architecture = field("fovea.architecture");
    if (!model.architecture.empty()) model.options = options_from_json(json::parse(field("fovea.options")));
    model.class_names = json::parse(field("fovea.class_names")).get<std::vector<std::string>>();
    return model;
  } catch (const json::exception& e) {
    throw Error(ErrorKind::format, path, str("damaged metadata: ", e.what()));
  }
}

}  // namespace fovea
