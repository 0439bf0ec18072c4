#include "core/graph/op_list.h"

#include <nlohmann/json.hpp>

#include "core/autograd/tape.h"

namespace fovea {

using nlohmann::json;

namespace {
thread_local Capture* current_capture = nullptr;
thread_local std::string current_scope;

std::vector<int> last_uses(const OpList& list) {
  std::vector<int> last(list.values.size(), -1);
  for (std::size_t n = 0; n < list.nodes.size(); ++n) {
    for (const int v : list.nodes[n].inputs) {
      if (v >= 0) last[static_cast<std::size_t>(v)] = static_cast<int>(n);
    }
  }
  for (const int v : list.outputs) last[static_cast<std::size_t>(v)] = static_cast<int>(list.nodes.size());
  return last;
}

void check_input_count(const OpList& list, std::size_t given) {
  if (given != list.inputs.size()) {
    throw Error(ErrorKind::shape, "model", str("expected ", list.inputs.size(), " inputs, got ", given));
  }
}
}  // namespace

std::vector<Tensor> OpList::run(std::span<const Tensor> in) const {
  check_input_count(*this, in.size());
  std::vector<Tensor> live(values.size());
  for (std::size_t v = 0; v < values.size(); ++v) {
    if (values[v].kind == ValueKind::parameter) live[v] = values[v].tensor;
  }
  for (std::size_t i = 0; i < in.size(); ++i) live[static_cast<std::size_t>(inputs[i])] = in[i];
  const std::vector<int> last = last_uses(*this);
  std::vector<Tensor> operands;
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    const Node& node = nodes[n];
    operands.clear();
    for (const int v : node.inputs) operands.push_back(v < 0 ? Tensor() : live[static_cast<std::size_t>(v)]);
    const NameScope scope(node.scope);
    std::vector<Tensor> results = run_op(node.op, operands);
    if (results.size() != node.outputs.size()) {
      throw Error(
          ErrorKind::format, "model",
          str("'", node.op->type(), "' gives ", results.size(), " results, the list expects ", node.outputs.size()));
    }
    operands.clear();
    for (const int v : node.inputs) {
      if (v >= 0 && last[static_cast<std::size_t>(v)] == static_cast<int>(n))
        live[static_cast<std::size_t>(v)] = Tensor();
    }
    for (std::size_t i = 0; i < results.size(); ++i)
      live[static_cast<std::size_t>(node.outputs[i])] = std::move(results[i]);
  }
  std::vector<Tensor> out;
  for (const int v : outputs) out.push_back(live[static_cast<std::size_t>(v)]);
  return out;
}

std::vector<TensorSpec> OpList::infer(std::span<const TensorSpec> in) const {
  check_input_count(*this, in.size());
  std::vector<TensorSpec> specs;
  for (const Value& value : values) specs.push_back(value.spec);
  for (std::size_t i = 0; i < in.size(); ++i) specs[static_cast<std::size_t>(inputs[i])] = in[i];
  for (const Node& node : nodes) {
    std::vector<TensorSpec> operands;
    for (const int v : node.inputs) {
      operands.push_back(v < 0 ? TensorSpec{{}, DType::f32, true} : specs[static_cast<std::size_t>(v)]);
    }
    const std::vector<TensorSpec> results = node.op->infer(operands);
    for (std::size_t i = 0; i < results.size() && i < node.outputs.size(); ++i) {
      specs[static_cast<std::size_t>(node.outputs[i])] = results[i];
    }
  }
  return specs;
}

// ---------------------------------------------------------------------------------------------------------------- JSON

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

std::string OpList::to_json() const {
  json out;
  out["version"] = 1;
  out["inputs"] = inputs;
  out["outputs"] = outputs;
  json& value_list = out["values"] = json::array();
  for (const Value& value : values) {
    json item{{"kind", kKinds[static_cast<int>(value.kind)]},
              {"dtype", std::string(to_string(value.spec.dtype))},
              {"shape", std::vector<std::int64_t>(value.spec.shape.begin(), value.spec.shape.end())}};
    if (!value.name.empty()) item["name"] = value.name;
    value_list.push_back(std::move(item));
  }
  json& node_list = out["nodes"] = json::array();
  for (const Node& node : nodes) {
    node_list.push_back({{"op", std::string(node.op->type())},
                         {"in", node.inputs},
                         {"out", node.outputs},
                         {"scope", node.scope},
                         {"attributes", attributes_to_json(node.op->attributes())}});
  }
  return out.dump();
}

OpList OpList::from_json(std::string_view text) {
  OpList list;
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
      const auto dims = item.at("shape").get<std::vector<std::int64_t>>();
      value.spec = {Shape(std::span<const std::int64_t>(dims)), dtype_from(item.at("dtype").get<std::string>())};
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
      node.op = make_op(item.at("op").get<std::string>(), attributes_from_json(item.at("attributes")));
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

// ------------------------------------------------------------------------------------------------------------- capture

Capture::Capture() : outer_(current_capture) { current_capture = this; }
Capture::~Capture() {
  if (current_capture == this) current_capture = outer_;
}

void Capture::input(const Tensor& tensor) {
  const int v = static_cast<int>(list_.values.size());
  list_.values.push_back({OpList::ValueKind::input, tensor.spec(), {}, {}});
  list_.inputs.push_back(v);
  index_[tensor.identity()] = v;
  alive_.push_back(tensor);
}

void Capture::parameter(const Tensor& tensor, std::string name) {
  if (index_.contains(tensor.identity())) return;  // shared parameters keep their first name
  index_[tensor.identity()] = static_cast<int>(list_.values.size());
  list_.values.push_back({OpList::ValueKind::parameter, tensor.spec(), std::move(name), tensor});
}

int Capture::value_of(const Tensor& tensor) {
  if (!tensor.defined()) return -1;
  const auto found = index_.find(tensor.identity());
  if (found != index_.end()) return found->second;
  if (tensor.is_meta()) {
    throw Error(ErrorKind::usage, "capture", "an operand without data comes from outside the captured pass",
                "values that depend on data cannot be captured");
  }
  parameter(tensor, str("constant.", list_.values.size()));
  return static_cast<int>(list_.values.size()) - 1;
}

OpList Capture::finish(std::span<const Tensor> outputs) {
  if (current_capture == this) current_capture = outer_;
  for (const Tensor& t : outputs) {
    const auto found = index_.find(t.identity());
    if (found == index_.end())
      throw Error(ErrorKind::usage, "capture", "a result does not come from the captured pass");
    list_.outputs.push_back(found->second);
  }
  index_.clear();
  alive_.clear();
  return std::move(list_);
}

struct CaptureAccess {
  static void record(Capture& capture, const OpPtr& op, std::span<const Tensor> in, std::span<const Tensor> out) {
    OpList::Node node;
    node.op = op;
    node.scope = current_scope;
    for (const Tensor& t : in) node.inputs.push_back(capture.value_of(t));
    for (const Tensor& t : out) {
      const int v = static_cast<int>(capture.list_.values.size());
      capture.list_.values.push_back({OpList::ValueKind::intermediate, t.spec(), {}, {}});
      capture.index_[t.identity()] = v;
      capture.alive_.push_back(t);
      node.outputs.push_back(v);
    }
    capture.list_.nodes.push_back(std::move(node));
  }
};

void detail::capture_op(const OpPtr& op, std::span<const Tensor> in, std::span<const Tensor> out) {
  if (current_capture) CaptureAccess::record(*current_capture, op, in, out);
}

NameScope::NameScope(std::string_view segment) : outer_length_(current_scope.size()) {
  if (segment.empty()) return;
  if (!current_scope.empty()) current_scope += '.';
  current_scope += segment;
}
NameScope::~NameScope() { current_scope.resize(outer_length_); }
const std::string& NameScope::current() { return current_scope; }

}  // namespace fovea
