// The layers of a model from its config's JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/weights/keras_names.h"

namespace fovea::weights {
namespace {

using nlohmann::json;  // sorts keys, which keeps the order of arguments but for those given by name; twice as fast as
                       // not

/// JSON this deep is no config: Keras' own are some ten deep, and ten more for each level of nested models.
constexpr int kMaxDepth = 256;
/// Keras writes some 1 KB per layer; in memory it is a dozen times that.
constexpr std::size_t kMaxText = 64u << 20;
/// Models within models.
constexpr int kMaxModels = 16;

const json* member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string text(const json& object, const char* key) {
  const json* found = member(object, key);
  return found && found->is_string() ? found->get<std::string>() : std::string();
}

/// "Package>Class" is how Keras 2 writes registered classes.
std::string class_of(const json& item) {
  const std::string name = text(item, "class_name");
  return name.substr(name.rfind('>') + 1);
}

/// The layer names behind the arguments of a call: Keras 3 writes tensors as objects with a history, Keras 2 as lists
/// [layer, call, output, other arguments]. Either may stand in lists.
void collect_inputs(const json& item, std::vector<std::string>& names) {
  if (item.is_object()) {
    if (text(item, "class_name") == "__keras_tensor__") {
      const json* config = member(item, "config");
      const json* history = config ? member(*config, "keras_history") : nullptr;
      if (history && history->is_array() && !history->empty() && (*history)[0].is_string()) {
        names.push_back((*history)[0].get<std::string>());
      }
      return;
    }
    for (const auto& entry : item.items()) collect_inputs(entry.value(), names);
  } else if (item.is_array()) {
    if (item.size() >= 3 && item[0].is_string() && item[1].is_number_integer() && item[2].is_number_integer()) {
      names.push_back(item[0].get<std::string>());
      if (item.size() > 3) collect_inputs(item[3], names);
      return;
    }
    // ["_CONSTANT_VALUE", -1, x] has the shape of a tensor, but for x.
    if (!item.empty() && item[0].is_string() && item[0] == "_CONSTANT_VALUE") return;
    for (const json& one : item) collect_inputs(one, names);
  }
}

/// How deep objects and lists are nested. Looked at before parsing, whose own callback for it triples the time.
int depth_of(std::string_view text) {
  int depth = 0, most = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      most = std::max(most, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return most;
}

class Parser {
 public:
  explicit Parser(const std::string& where) : where_(where) {}

  KerasLayer layer(json& item, int depth) {
    if (!item.is_object()) malformed("a layer is no object");
    if (depth > kMaxModels) malformed("models are nested too deep");
    KerasLayer result;
    result.class_name = class_of(item);
    if (result.class_name.empty()) malformed("a layer has no class");
    result.name = text(item, "name");
    const std::string module = text(item, "module");
    result.is_layer = !module.starts_with("keras.src.ops") && !module.starts_with("keras.ops");
    if (const json* nodes = member(item, "inbound_nodes"); nodes && nodes->is_array() && !nodes->empty()) {
      result.calls = static_cast<int>(nodes->size());
      result.call = (*nodes)[0].dump();
      collect_inputs((*nodes)[0], result.inbound);
      std::erase(result.inbound, "_CONSTANT_VALUE");
    }
    const auto found = item.find("config");
    if (found == item.end()) return result;
    json& config = *found;
    if (result.name.empty()) result.name = text(config, "name");
    const bool sequential = result.class_name == "Sequential";
    if (config.is_array()) {  // a Sequential of Keras 1 and of Keras 2 before 2.2.3
      result.children = layers(config, sequential, depth);
      return result;
    }
    if (!config.is_object()) malformed(str("the config of '", result.name, "' is no object"));
    if (const auto list = config.find("layers"); list != config.end() && list->is_array()) {
      result.children = layers(*list, sequential, depth);
      config.erase(list);
    } else if (const auto wrapped = config.find("layer"); wrapped != config.end() && wrapped->is_object()) {
      result.children.push_back(layer(*wrapped, depth + 1));
    }
    result.config = config.dump();
    return result;
  }

  [[noreturn]] void malformed(const std::string& what) const {
    throw Error(ErrorKind::format, where_, str("its Keras config is not understood: ", what));
  }

 private:
  std::vector<KerasLayer> layers(json& list, bool sequential, int depth) {
    std::vector<KerasLayer> result;
    for (json& item : list) {
      result.push_back(layer(item, depth + 1));
      if (sequential && result.size() > 1) result.back().inbound = {result[result.size() - 2].name};
    }
    return result;
  }

  const std::string& where_;
};

}  // namespace

bool KerasLayer::is_model() const {
  return class_name == "Functional" || class_name == "Sequential" || class_name == "Model" ||
         (children.size() > 1 && is_layer);
}

KerasLayer keras_model(std::string_view text, const std::string& where) {
  const Parser parser(where);
  if (text.size() > kMaxText) parser.malformed(str("it has ", text.size(), " bytes"));
  if (depth_of(text) > kMaxDepth) parser.malformed("it is nested too deep");
  try {
    json config = json::parse(text.begin(), text.end());
    return Parser(where).layer(config, 0);
  } catch (const json::exception& e) {
    parser.malformed(e.what());
  }
}

std::vector<KerasLayer> keras_layers(std::string_view text, const std::string& where) {
  return std::move(keras_model(text, where).children);
}

}  // namespace fovea::weights
