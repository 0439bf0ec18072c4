#include "core/graph/op_list.h"

#include "core/autograd/tape.h"

namespace fovea {

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

OpRecords OpList::records() const {
  OpRecords out;
  out.values = values;
  out.inputs = inputs;
  out.outputs = outputs;
  for (const Node& node : nodes)
    out.nodes.push_back({std::string(node.op->type()), node.op->attributes(), node.inputs, node.outputs, node.scope});
  return out;
}

OpList OpList::from_records(OpRecords from) {
  OpList list;
  list.values = std::move(from.values);
  list.inputs = std::move(from.inputs);
  list.outputs = std::move(from.outputs);
  for (OpRecords::Node& node : from.nodes) {
    list.nodes.push_back(
        {make_op(node.type, node.attributes), std::move(node.inputs), std::move(node.outputs), std::move(node.scope)});
  }
  return list;
}

std::string OpList::to_json() const { return records().to_json(); }
OpList OpList::from_json(std::string_view json) { return from_records(OpRecords::from_json(json)); }

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

bool detail::is_capturing() { return current_capture != nullptr; }

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
