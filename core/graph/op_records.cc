// Op records as JSON text: what a model file says of its network.
#include "core/graph/op_records.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace fovea {

using nlohmann::json;

namespace {

json attributes_to_json(const Attributes& attributes) {
  json out = json::object();
  for (const auto& [name, value] : attributes.all())
    std::visit([&out, &key = name](const auto& v) { out[key] = v; }, value);
  return out;
}

[[noreturn]] void malformed(std::string_view what) { throw Error(ErrorKind::format, "model", str("op list: ", what)); }

Attributes attributes_from_json(const json& in) {
  Attributes out;
  for (const auto& [name, value] : in.items()) {
    if (value.is_boolean()) {
      out.set(name, Attribute(value.get<bool>()));
    } else if (value.is_number_integer()) {
      out.set(name, Attribute(value.get<std::int64_t>()));
    } else if (value.is_number()) {
      out.set(name, Attribute(value.get<double>()));
    } else if (value.is_string()) {
      out.set(name, Attribute(value.get<std::string>()));
    } else if (value.is_array()) {
      bool integers = true;
      for (const json& item : value) {
        if (!item.is_number()) malformed(str("attribute '", name, "' is a list of something other than numbers"));
        integers &= item.is_number_integer();
      }
      if (integers) {
        out.set(name, Attribute(value.get<std::vector<std::int64_t>>()));
      } else {
        out.set(name, Attribute(value.get<std::vector<double>>()));
      }
    } else {
      malformed(str("attribute '", name, "' has an unknown type"));
    }
  }
  return out;
}

DType dtype_from(const std::string& name) {
  for (const DType t :
       {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i32, DType::i64}) {
    if (to_string(t) == name) return t;
  }
  malformed(str("unknown element type '", name, "'"));
}

constexpr const char* kKinds[] = {"input", "parameter", "intermediate"};

}  // namespace

std::string OpRecords::to_json() const {
  json out;
  out["version"] = 1;
  out["inputs"] = inputs;
  out["outputs"] = outputs;
  json& value_list = out["values"] = json::array();
  for (const Value& value : values) {
    json item{{"kind", kKinds[static_cast<int>(value.kind)]}};
    if (value.kind != ValueKind::intermediate || value.spec != TensorSpec{}) {
      item["dtype"] = std::string(to_string(value.spec.dtype));
      item["shape"] = std::vector<std::int64_t>(value.spec.shape.begin(), value.spec.shape.end());
    }
    if (!value.name.empty()) item["name"] = value.name;
    value_list.push_back(std::move(item));
  }
  json& node_list = out["nodes"] = json::array();
  for (const Node& node : nodes) {
    node_list.push_back({{"op", node.type},
                         {"in", node.inputs},
                         {"out", node.outputs},
                         {"scope", node.scope},
                         {"attributes", attributes_to_json(node.attributes)}});
  }
  return out.dump();
}

OpRecords OpRecords::from_json(std::string_view text) {
  OpRecords list;
  try {
    const json in = json::parse(text.begin(), text.end());
    if (in.at("version").get<int>() != 1) malformed("unknown version");
    std::vector<char> made;
    for (const json& item : in.at("values")) {
      Value value;
      const std::string kind = item.at("kind").get<std::string>();
      int k = 0;
      while (k < 3 && kind != kKinds[k]) ++k;
      if (k == 3) malformed(str("unknown kind of value '", kind, "'"));
      value.kind = static_cast<ValueKind>(k);
      if (value.kind != ValueKind::intermediate || item.contains("shape")) {
        const auto dims = item.at("shape").get<std::vector<std::int64_t>>();
        value.spec = {Shape(std::span<const std::int64_t>(dims)), dtype_from(item.at("dtype").get<std::string>())};
      }
      if (item.contains("name")) value.name = item["name"].get<std::string>();
      made.push_back(value.kind == ValueKind::parameter);
      list.values.push_back(std::move(value));
    }
    const auto check = [&](int v, bool must_exist) {
      if (v < 0 || v >= static_cast<int>(list.values.size())) malformed(str("value ", v, " does not exist"));
      if (must_exist && !made[static_cast<std::size_t>(v)]) malformed(str("value ", v, " is used before it is made"));
    };
    list.inputs = in.at("inputs").get<std::vector<int>>();
    for (const int v : list.inputs) {
      check(v, false);
      made[static_cast<std::size_t>(v)] = 1;
    }
    for (const json& item : in.at("nodes")) {
      Node node;
      node.type = item.at("op").get<std::string>();
      node.attributes = attributes_from_json(item.at("attributes"));
      node.inputs = item.at("in").get<std::vector<int>>();
      node.outputs = item.at("out").get<std::vector<int>>();
      node.scope = item.at("scope").get<std::string>();
      for (const int v : node.inputs) {
        if (v != -1) check(v, true);
      }
      for (const int v : node.outputs) {
        check(v, false);
        if (made[static_cast<std::size_t>(v)]) malformed(str("value ", v, " is made twice"));
        made[static_cast<std::size_t>(v)] = 1;
      }
      list.nodes.push_back(std::move(node));
    }
    list.outputs = in.at("outputs").get<std::vector<int>>();
    for (const int v : list.outputs) check(v, true);
  } catch (const json::exception& e) {
    malformed(e.what());
  }
  return list;
}

}  // namespace fovea
