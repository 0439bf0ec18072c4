#include "models/weights/keras_graph.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "core/error.h"

namespace fovea::models {
namespace {

using nlohmann::json;
using weights::KerasLayer;

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Layers and operations on a picture before the network proper. Random ones do nothing at inference.
bool prepares(const KerasNode& n) {
  return n.class_name.starts_with("Random") ||
         one_of(n.class_name,
                {"Rescaling", "Normalization", "GaussianNoise", "Dropout", "TrueDivide", "Divide", "Subtract", "Add",
                 "Multiply", "Cast", "tf.math.truediv", "tf.math.divide", "tf.math.subtract", "tf.math.add",
                 "tf.math.multiply", "tf.cast", "tf.nn.bias_add", "tf.__operators__.add", "tf.__operators__.getitem"});
}

bool pools(const KerasNode& n) {
  return one_of(n.class_name, {"GlobalAveragePooling2D", "GlobalMaxPooling2D", "GlobalAvgPool2D", "GlobalMaxPool2D",
                               "Flatten", "AveragePooling2D", "MaxPooling2D", "AvgPool2D", "MaxPool2D"});
}

bool finishes(const KerasNode& n) {
  return pools(n) || one_of(n.class_name, {"Dense", "Dropout", "Activation", "ReLU", "LeakyReLU", "Softmax", "Reshape",
                                           "BatchNormalization", "Rescaling", "GaussianDropout", "GaussianNoise",
                                           "AlphaDropout", "ActivityRegularization"});
}

/// What networks of the zoo are made of, in Keras 2 and 3, without what pools and finishes them.
bool belongs_inside(const KerasNode& n) {
  return finishes(n) || n.class_name.starts_with("tf.") ||
         one_of(n.class_name, {"Conv2D", "DepthwiseConv2D", "Add", "Multiply", "Concatenate", "ZeroPadding2D",
                               "Normalization", "HardSigmoid", "HardSwish", "HardSilu", "Relu6", "Sigmoid", "Silu",
                               "Relu", "DropConnect", "FixedDropout"});
}

/// The layer names in a config's "input_layers" or "output_layers": [["name", 0, 0]], or ["name", 0, 0] for one.
std::vector<std::string> ends_of(const std::string& config, const char* key) {
  std::vector<std::string> out;
  const json parsed = json::parse(config, nullptr, false);
  if (!parsed.is_object() || !parsed.contains(key)) return out;
  const json& list = parsed[key];
  const auto name = [](const json& item) { return item.is_array() && !item.empty() && item[0].is_string(); };
  if (name(list)) return {list[0].get<std::string>()};
  if (!list.is_array() && !list.is_object()) return out;
  for (const json& item : list) {
    if (name(item)) out.push_back(item[0].get<std::string>());
  }
  return out;
}

class Dissolver {
 public:
  explicit Dissolver(const std::string& where) : where_(where) {}

  KerasGraph run(const KerasLayer& model) {
    if (!model.is_model()) refuse(model, "is no model");
    graph_.nodes.push_back({.name = "input", .class_name = "InputLayer"});
    output_ = dissolve(model, "", 0);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      for (const std::size_t input : graph_.nodes[i].inputs) graph_.nodes[input].users.push_back(i);
    }
    find_before();
    find_behind();
    check_inside();
    return std::move(graph_);
  }

 private:
  [[noreturn]] void refuse(const KerasLayer& layer, std::string_view what) const {
    throw Error(ErrorKind::format, where_,
                str("layer '", layer.name, "' (", layer.class_name, ") of its config ", what),
                "models are read that are a network of the zoo between chains of layers");
  }

  /// Adds a model's layers, with `input` as what it is applied to; returns the node of its result.
  std::size_t dissolve(const KerasLayer& model, const std::string& path, std::size_t input) {
    take_shape(model.config);
    std::unordered_map<std::string, std::size_t> results;
    std::size_t inputs = 0, last = input;
    for (const KerasLayer& layer : model.children) {
      std::size_t result = 0;
      if (layer.class_name == "InputLayer") {
        take_shape(layer.config);
        if (++inputs > 1) refuse(layer, "is a second input");
        result = input;
      } else {
        if (layer.calls > 1) refuse(layer, "is applied more than once");
        std::vector<std::size_t> from;
        for (const std::string& name : layer.inbound) {
          const auto at = results.find(name);
          if (at == results.end()) refuse(layer, str("takes '", name, "', which is not before it"));
          from.push_back(at->second);
        }
        if (layer.inbound.empty()) {  // the first of a Sequential, which may do without an input layer
          if (last != input) refuse(layer, "takes nothing");
          take_shape(layer.config);
          from.push_back(input);
        }
        if (layer.is_model()) {
          if (from.size() != 1) refuse(layer, str("takes ", from.size(), " inputs"));
          result = dissolve(layer, path.empty() ? layer.name : path + "/" + layer.name, from[0]);
        } else {
          result = graph_.nodes.size();
          graph_.nodes.push_back({layer.name, operation(layer), layer.config, layer.call, path, std::move(from), {}});
        }
      }
      results[layer.name] = result;
      last = result;
    }
    const std::vector<std::string> outputs = ends_of(model.config, "output_layers");
    if (outputs.size() > 1) refuse(model, str("has ", outputs.size(), " outputs"));
    if (outputs.empty()) return last;
    const auto at = results.find(outputs[0]);
    if (at == results.end()) refuse(model, str("has an output '", outputs[0], "', which is none of its layers"));
    return at->second;
  }

  /// Keras 2 wraps functions of TensorFlow: what counts is the function.
  static std::string operation(const KerasLayer& layer) {
    if (layer.class_name == "SlicingOpLambda") return "tf.__operators__.getitem";
    if (layer.class_name != "TFOpLambda") return layer.class_name;
    const json config = json::parse(layer.config, nullptr, false);
    if (!config.is_object() || !config.contains("function") || !config["function"].is_string()) return "TFOpLambda";
    return "tf." + config["function"].get<std::string>();
  }

  /// The first input shape that is met counts: [null, 160, 160, 3].
  void take_shape(const std::string& text) {
    if (graph_.channels > 0) return;
    const json config = json::parse(text, nullptr, false);
    if (!config.is_object()) return;
    for (const char* key : {"batch_shape", "batch_input_shape", "build_input_shape"}) {
      if (!config.contains(key) || !config[key].is_array() || config[key].size() != 4) continue;
      const json& shape = config[key];
      const auto extent = [&](std::size_t axis) {
        const std::int64_t n = shape[axis].is_number_integer() ? shape[axis].get<std::int64_t>() : 0;
        return n > 0 && n <= 1 << 20 ? static_cast<int>(n) : 0;
      };
      graph_.height = extent(1);
      graph_.width = extent(2);
      graph_.channels = extent(3);
      return;
    }
  }

  /// Keras 3 turns RGB into BGR by taking the channels apart and stacking them anew.
  std::optional<std::size_t> stacked(const std::vector<std::size_t>& users) const {
    std::set<std::size_t> next;
    for (const std::size_t user : users) {
      const KerasNode& n = graph_.nodes[user];
      if (n.class_name != "GetItem") return std::nullopt;
      next.insert(n.users.begin(), n.users.end());
    }
    if (users.size() != 3 || next.size() != 1 || graph_.nodes[*next.begin()].class_name != "Stack") return std::nullopt;
    return *next.begin();
  }

  void find_before() {
    std::size_t at = 0;
    for (;;) {
      const std::vector<std::size_t>& users = graph_.nodes[at].users;
      if (const std::optional<std::size_t> stack = stacked(users)) {
        at = *stack;
      } else if (users.size() == 1 && prepares(graph_.nodes[users[0]]) && graph_.nodes[users[0]].inputs.size() == 1) {
        at = users[0];
      } else {
        return;
      }
      graph_.before.push_back(at);
    }
  }

  void find_behind() {
    std::vector<std::size_t> chain;
    for (std::size_t at = output_; at != 0 && finishes(graph_.nodes[at]) && graph_.nodes[at].inputs.size() == 1;
         at = graph_.nodes[at].inputs[0]) {
      if (at != output_ && graph_.nodes[at].users.size() != 1) break;
      chain.push_back(at);
    }
    std::reverse(chain.begin(), chain.end());
    // The network's own norm and activation may end the feature map: the head begins with a pooling.
    const auto first = std::find_if(chain.begin(), chain.end(), [&](std::size_t i) { return pools(graph_.nodes[i]); });
    if (first != chain.end()) check_end({chain.begin(), first});
    graph_.behind.assign(first, chain.end());
    graph_.has_dense = std::any_of(graph_.behind.begin(), graph_.behind.end(),
                                   [&](std::size_t i) { return graph_.nodes[i].class_name == "Dense"; });
  }

  [[noreturn]] void refuse(const KerasNode& n, std::string_view what) const {
    refuse(KerasLayer{.class_name = n.class_name, .name = n.name}, what);
  }

  /// Only names and shapes of tensors are compared with the zoo's network, so a layer without any that the zoo would
  /// not have there must not pass unseen: more than a norm and an activation before the pooling,
  void check_end(const std::vector<std::size_t>& tail) const {
    int stage = 0;  // 1: a norm was there, 2: an activation
    for (const std::size_t i : tail) {
      const KerasNode& n = graph_.nodes[i];
      if (n.class_name.find("Dropout") != std::string::npos || n.class_name == "ActivityRegularization") continue;
      const int next = n.class_name == "BatchNormalization" ? 1 : 2;
      if (next <= stage) refuse(n, "stands between the network and its pooling");
      stage = next;
    }
  }

  /// or a layer of another kind, or one beside a network that is nested.
  void check_inside() const {
    std::set<std::size_t> around(graph_.before.begin(), graph_.before.end());
    around.insert(graph_.behind.begin(), graph_.behind.end());
    for (const std::size_t i : graph_.before) {
      const std::vector<std::size_t>& parts = graph_.nodes[i].inputs;  // the channels, where they are stacked anew
      if (graph_.nodes[i].class_name == "Stack") around.insert(parts.begin(), parts.end());
    }
    std::map<std::string, int> convolutions;
    for (const KerasNode& n : graph_.nodes) convolutions[n.model] += n.class_name == "Conv2D";
    const auto home = std::max_element(convolutions.begin(), convolutions.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    const KerasNode* beside = nullptr;
    for (std::size_t i = 1; i < graph_.nodes.size(); ++i) {
      if (around.contains(i)) continue;
      const KerasNode& n = graph_.nodes[i];
      if (!belongs_inside(n)) refuse(n, "is none that networks of the zoo have");
      const bool idle = n.class_name.find("Dropout") != std::string::npos || n.class_name == "GaussianNoise" ||
                        (n.class_name == "Activation" && n.config.find("\"linear\"") != std::string::npos);
      if (n.model != home->first && !idle && !beside) beside = &n;
    }
    if (beside) refuse(*beside, str("stands beside the network '", home->first, "', where it is not understood"));
  }

  const std::string& where_;
  KerasGraph graph_;
  std::size_t output_ = 0;
};

}  // namespace

std::optional<std::pair<std::size_t, std::string>> KerasGraph::owner(const std::string& tensor) const {
  // Readers give the shortest name that is unique, so a layer of a nested model may go without the model's name, but
  // then no layer outside has the same.
  std::optional<std::size_t> nested;
  for (std::size_t bar = tensor.rfind('/'); bar != std::string::npos && bar > 0; bar = tensor.rfind('/', bar - 1)) {
    const std::string_view layer = std::string_view(tensor).substr(0, bar);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const KerasNode& n = nodes[i];
      const bool qualified = !n.model.empty() && layer.size() == n.model.size() + 1 + n.name.size() &&
                             layer.starts_with(n.model) && layer.ends_with(n.name);
      if (qualified || (n.model.empty() && layer == n.name)) return std::pair(i, tensor.substr(bar + 1));
      if (layer == n.name) nested = i;
    }
    if (nested) return std::pair(*nested, tensor.substr(bar + 1));
  }
  return std::nullopt;
}

KerasGraph keras_graph(const KerasLayer& model, const std::string& where) { return Dissolver(where).run(model); }

}  // namespace fovea::models
