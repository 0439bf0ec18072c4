// Reading and writing networks in files.
#include "infer/graph/network_file_internal.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/graph/op_file.h"
#include "core/io/file.h"
#include "infer/graph/network.h"

namespace fovea::infer {
namespace {

using nlohmann::json;

constexpr const char* kQuantization = "quantization";
constexpr const char* kCompiled = "fovea.compiled";
constexpr const char* kCompiledVersion = "1";

void read_quantization(const Tensor& table, Graph& graph, const std::string& where) {
  const auto values = static_cast<std::int64_t>(graph.memory.size());
  if (table.dtype() != DType::f32 || table.shape() != Shape{values, 2}) {
    throw Error(ErrorKind::format, where,
                str("its quantization is ", table.to_string(), ", expected f32 ", Shape{values, 2}));
  }
  graph.quantization.resize(graph.memory.size());
  const float* entry = table.data<float>();
  for (Quantization& q : graph.quantization) {
    const float scale = *entry++, zero = *entry++;
    if (!((scale == 0 || (scale > kLeastScale && scale < kLargestScale)) && zero >= 0 && zero <= 255 &&
          zero == std::floor(zero)))
      throw Error(ErrorKind::format, where, str("a value cannot be quantised with scale ", scale, " and zero ", zero));
    q = {scale, static_cast<int>(zero)};
  }
}

NetworkFile read(Safetensors file, const std::string& where) try {
  NetworkFile network;
  network.preprocessing = image::preprocessing_from_json(model_field(file, "fovea.preprocessing", where));
  network.class_names = json::parse(model_field(file, "fovea.class_names", where)).get<std::vector<std::string>>();
  network.architecture = model_field(file, "fovea.architecture", where);
  const std::string* compiled = file.find_metadata(kCompiled);
  if (compiled && *compiled != kCompiledVersion) {
    throw Error(ErrorKind::format, where,
                str("is a compiled network of version ", compiled->substr(0, 20), ", this program reads version ",
                    kCompiledVersion),
                "make it anew from the model file");
  }
  Graph& graph = network.graph;
  graph = make_graph(read_op_records(file, where, compiled ? kQuantization : ""));
  if (const Tensor table = compiled ? file.find(kQuantization) : Tensor(); table.defined())
    read_quantization(table, graph, where);
  file.tensors.clear();  // so that the memory of what is folded and packed goes with each
  check(graph);
  // The shape rules are the check that the stored network is whole.
  const image::Preprocessing& p = network.preprocessing;
  shapes_of(graph, graph.input_shape);
  shapes_of(graph, {1, p.height, p.width, p.channels});
  if (!compiled) {
    fold_norms(graph);
    fuse_epilogues(graph);
  }
  return network;
} catch (const json::exception& e) {
  throw Error(ErrorKind::format, where, str("damaged metadata: ", e.what()));
}

}  // namespace

void check(const Graph& graph) {
  const auto refuse = [](const Node& node, const char* what) {
    throw Error(ErrorKind::format, "network", str(node.name, " (", to_string(node.kind), ") ", what));
  };
  for (const Node& node : graph.nodes) {
    if (has_integer_weights(node) && graph.quantization_of(node.inputs[0]).scale <= 0)
      refuse(node, "multiplies integers with values that are not quantised");
    // What is added has the type of the result, and the network's input and result are f32 in every plan.
    if (node.residual && (graph.at_the_edge(node.inputs.back()) || graph.at_the_edge(node.output)))
      refuse(node, "cannot add at the network's input or result");
  }
}

NetworkFile read_network(const std::string& path) { return read(read_safetensors(path), path); }

NetworkFile read_network(std::span<std::uint8_t> bytes, std::shared_ptr<const void> owner, const std::string& where) {
  return read(parse_safetensors(bytes, std::move(owner), where), where);
}

bool is_compiled(const std::string& path) {
  try {
    const std::shared_ptr<MappedFile> file = MappedFile::open(path);
    const SafetensorsIndex index = index_safetensors(file->bytes(), path);
    return std::any_of(index.metadata.begin(), index.metadata.end(),
                       [](const auto& m) { return m.first == kCompiled; });
  } catch (const Error&) {
    return false;
  }
}

void write_network(const NetworkFile& network, const std::string& path) {
  const GraphRecords records = records_of(network.graph);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const OpRecords::Value& value : records.list.values) {
    if (value.kind == OpRecords::ValueKind::parameter) tensors.emplace_back(value.name, value.tensor);
  }
  if (!network.graph.quantization.empty()) {
    Tensor table({static_cast<std::int64_t>(records.quantization.size()), 2});
    float* entry = table.mutable_data<float>();
    for (const Quantization& q : records.quantization) {
      *entry++ = q.scale;
      *entry++ = static_cast<float>(q.zero);
    }
    tensors.emplace_back(kQuantization, std::move(table));
  }
  write_safetensors(path, tensors,
                    {{"format", "fovea"},
                     {"fovea.version", std::to_string(kModelFileVersion)},
                     {kCompiled, kCompiledVersion},
                     {"fovea.architecture", network.architecture},
                     {"fovea.preprocessing", to_json(network.preprocessing)},
                     {"fovea.class_names", json(network.class_names).dump()},
                     {"fovea.ops", records.list.to_json()}});
}

}  // namespace fovea::infer
