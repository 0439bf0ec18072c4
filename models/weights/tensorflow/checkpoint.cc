// TensorFlow checkpoints: which of the entries are weights, and what they are called.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "models/weights/tensorflow/bundle_internal.h"
#include "models/weights/tensorflow/proto_internal.h"

namespace fovea::weights {
namespace {

using namespace tensorflow;

constexpr std::string_view kGraphKey = "_CHECKPOINTABLE_OBJECT_GRAPH";
constexpr std::string_view kAttribute = "/.ATTRIBUTES/";
constexpr std::string_view kAverage = "/ExponentialMovingAverage";

/// A variable of a checkpoint of objects (tf.train.Checkpoint, SavedModel).
struct ObjectVariable {
  std::string_view key, full_name;
};

struct ObjectNode {
  std::vector<std::pair<std::string_view, std::uint64_t>> children;
  std::vector<ObjectVariable> variables;
};

/// What training keeps beside the weights hangs below these. Keras's optimizers also refer to the weights themselves,
/// and checkpoint keys name whichever path is shortest, so keys cannot tell; the graph can.
bool leads_away(std::string_view edge) {
  static constexpr std::string_view kEdges[] = {"optimizer",        "_optimizer",   "keras_api",      "metrics",
                                                "_metrics",         "save_counter", "_train_counter", "_test_counter",
                                                "_predict_counter", "loss_tracker"};
  return std::find(std::begin(kEdges), std::end(kEdges), edge) != std::end(kEdges);
}

std::vector<ObjectNode> parse_graph(std::span<const std::uint8_t> bytes, const std::string& where) {
  std::vector<ObjectNode> nodes;
  for (Message graph(bytes, where, "object graph"); graph.next();) {
    if (graph.field() != 1) continue;
    ObjectNode node;
    for (Message object(graph.bytes(), where, "object"); object.next();) {
      if (object.field() == 1) {
        std::pair<std::string_view, std::uint64_t> child{};
        for (Message reference(object.bytes(), where, "object"); reference.next();) {
          if (reference.field() == 1) child.second = reference.number();
          if (reference.field() == 2) child.first = reference.text();
        }
        node.children.push_back(child);
      } else if (object.field() == 2) {
        ObjectVariable variable;
        std::string_view kind;
        for (Message attribute(object.bytes(), where, "object"); attribute.next();) {
          if (attribute.field() == 1) kind = attribute.text();
          if (attribute.field() == 2) variable.full_name = attribute.text();
          if (attribute.field() == 3) variable.key = attribute.text();
        }
        if (kind == "VARIABLE_VALUE") node.variables.push_back(variable);
      }
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

/// The variables that the root reaches without the edges of leads_away(), nearest first.
std::vector<ObjectVariable> weights_of(const std::vector<ObjectNode>& nodes, const std::string& where) {
  std::vector<ObjectVariable> found;
  if (nodes.empty()) return found;
  std::vector<std::uint64_t> queue{0};
  std::vector<bool> seen(nodes.size());
  seen[0] = true;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const ObjectNode& node = nodes[static_cast<std::size_t>(queue[i])];
    found.insert(found.end(), node.variables.begin(), node.variables.end());
    for (const auto& [edge, child] : node.children) {
      if (child >= nodes.size()) throw Error(ErrorKind::format, where, "damaged object graph: an object is missing");
      if (leads_away(edge) || seen[static_cast<std::size_t>(child)]) continue;
      seen[static_cast<std::size_t>(child)] = true;
      queue.push_back(child);
    }
  }
  return found;
}

/// "layer/kernel" of "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE".
std::string_view plain_key(std::string_view key) { return key.substr(0, key.find(kAttribute)); }

void collect_objects(Bundle& bundle, const BundleEntry& graph_entry, WeightFile& file) {
  const auto nodes = parse_graph(bundle.string(std::string(kGraphKey), graph_entry), bundle.where());
  struct Weight {
    std::string_view key, name;
    const BundleEntry* entry;
  };
  std::vector<Weight> weights;
  std::unordered_map<std::string_view, std::size_t> by_name;  // the first of that name
  std::unordered_set<std::string_view> ambiguous, keys;
  for (const ObjectVariable& variable : weights_of(nodes, bundle.where())) {
    const auto at = bundle.entries().find(std::string(variable.key));
    if (at == bundle.entries().end()) {
      throw Error(ErrorKind::format, bundle.where(), str("the checkpoint misses the tensor '", variable.key, "'"));
    }
    const BundleEntry& entry = at->second;
    if (!Bundle::is_numbers(entry) || !keys.insert(at->first).second) continue;
    const auto [same, is_new] = by_name.emplace(variable.full_name, weights.size());
    if (!is_new && !variable.full_name.empty()) {
      // Keras exports every weight twice. Equal in shape and checksum it is the same one; otherwise the names do not
      // tell the variables apart and their keys have to.
      const BundleEntry& other = *weights[same->second].entry;
      if (other.dtype == entry.dtype && other.shape == entry.shape && other.crc == entry.crc) continue;
      ambiguous.insert(variable.full_name);
    }
    weights.push_back({at->first, variable.full_name, &entry});
  }
  std::unordered_set<std::string> names;
  for (const Weight& weight : weights) {
    const bool named = !weight.name.empty() && !ambiguous.contains(weight.name);
    const std::string name(named ? weight.name : plain_key(weight.key));
    if (!names.insert(name).second) {
      throw Error(ErrorKind::format, bundle.where(), str("two variables are called '", name, "'"));
    }
    file.tensors.push_back(bundle.tensor(name, *weight.entry));
  }
}

bool is_counter(std::string_view name, const BundleEntry& entry) {
  const std::string_view last = name.substr(name.rfind('/') + 1);
  return entry.shape.empty() &&
         (last == "global_step" || last == "beta1_power" || last == "beta2_power" || last == "save_counter");
}

void collect_named(Bundle& bundle, WeightFile& file) {
  const auto& entries = bundle.entries();
  std::size_t averages = 0;
  for (const auto& [key, entry] : entries) {
    if (!Bundle::is_numbers(entry) || is_counter(key, entry)) continue;
    if (key.ends_with(kAverage) && key.size() > kAverage.size()) {
      const std::string name = key.substr(0, key.size() - kAverage.size());
      if (!entries.contains(name)) {  // an export of the averages alone
        file.tensors.push_back(bundle.tensor(name, entry));
        ++averages;
      }
      continue;
    }
    // An optimizer calls what it keeps for X "X/Adam", "X/RMSProp_1", ...; nothing else is named below a variable.
    const std::size_t slash = key.rfind('/');
    if (slash != std::string::npos && entries.contains(key.substr(0, slash))) continue;
    const auto average = entries.find(key + std::string(kAverage));
    const bool averaged = average != entries.end() && average->second.shape == entry.shape;
    averages += averaged;
    file.tensors.push_back(bundle.tensor(key, averaged ? average->second : entry));
  }
  if (averages > 0) file.metadata.emplace_back("tf.moving_averages", std::to_string(averages));
}

}  // namespace

WeightFile parse_tf_checkpoint(std::span<std::uint8_t> index, std::shared_ptr<const void> /*owner*/,
                               const std::function<CheckpointShard(int, int)>& shard, const std::string& where) {
  Bundle bundle(index, shard, where);  // copies what it needs of the index; tensors keep their data files
  WeightFile file;
  file.path = where;
  file.format = "TensorFlow checkpoint";
  const auto graph = bundle.entries().find(std::string(kGraphKey));
  if (graph != bundle.entries().end()) {
    file.metadata.emplace_back("tf.object_graph", "yes");
    collect_objects(bundle, graph->second, file);
  } else {
    collect_named(bundle, file);
  }
  if (file.tensors.empty()) {
    throw Error(ErrorKind::format, where,
                str("the checkpoint has no weights among its ", bundle.entries().size(), " entries"));
  }
  return file;
}

}  // namespace fovea::weights
