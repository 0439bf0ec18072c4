#include "models/weights/keras_names.h"

#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace fovea::weights {
namespace {

/// The variables of a class in the order in which Keras stores them: the trainable ones first. `flag` is the entry of
/// the config without which the variable does not exist.
struct Variable {
  const char* name;
  const char* flag;
};
struct ClassOfLayers {
  const char* path;  ///< as in group names, where it serves several classes of one kind
  std::vector<Variable> variables;
};

const std::vector<ClassOfLayers>& known_classes() {
  static const std::vector<ClassOfLayers> table = [] {
    const std::vector<Variable> kernel = {{"kernel", nullptr}, {"bias", "use_bias"}};
    const std::vector<Variable> separable = {
        {"depthwise_kernel", nullptr}, {"pointwise_kernel", nullptr}, {"bias", "use_bias"}};
    const std::vector<Variable> affine = {{"gamma", "scale"}, {"beta", "center"}};
    std::vector<ClassOfLayers> t;
    for (const char* path : {"dense", "conv1d", "conv2d", "conv3d", "conv1d_transpose", "conv2d_transpose",
                             "conv3d_transpose", "depthwise_conv1d", "depthwise_conv2d"}) {
      t.push_back({path, kernel});
    }
    t.push_back({"separable_conv1d", separable});
    t.push_back({"separable_conv2d", separable});
    t.push_back({"batch_normalization",
                 {{"gamma", "scale"}, {"beta", "center"}, {"moving_mean", nullptr}, {"moving_variance", nullptr}}});
    t.push_back({"layer_normalization", affine});
    t.push_back({"group_normalization", affine});
    t.push_back({"normalization", {{"mean", nullptr}, {"variance", nullptr}, {"count", nullptr}}});
    t.push_back({"p_re_lu", {{"alpha", nullptr}}});
    t.push_back({"embedding", {{"embeddings", nullptr}}});
    return t;
  }();
  return table;
}

const ClassOfLayers* find_class(std::string_view path) {
  for (const ClassOfLayers& known : known_classes()) {
    if (path == known.path) return &known;
  }
  return nullptr;
}

std::vector<std::string> variables_of(const std::string& path, const std::string& config_text) {
  std::vector<std::string> result;
  const ClassOfLayers* known = find_class(path);
  if (!known) return result;
  const nlohmann::json config = nlohmann::json::parse(config_text, nullptr, false);
  for (const Variable& variable : known->variables) {
    bool exists = true;
    if (variable.flag && config.is_object()) {
      const auto flag = config.find(variable.flag);
      if (flag != config.end() && flag->is_boolean()) exists = flag->get<bool>();
    }
    if (exists) result.emplace_back(variable.name);
  }
  return result;
}

/// Returns whether there are any variables.
bool add_layers(const KerasLayer& model, const std::string& path, const std::string& names, KerasContainer container,
                std::vector<KerasVariables>& result) {
  const bool old = container == KerasContainer::checkpoint_dependencies;
  const std::string folder = path + (old ? "_layer_checkpoint_dependencies/" : "layers/");
  std::map<std::string, std::size_t> used;
  bool first = true, any = false;
  for (const KerasLayer& layer : model.children) {
    // A Sequential does not count its input among its layers; a Functional does.
    const bool input =
        std::exchange(first, false) && model.class_name == "Sequential" && layer.class_name == "InputLayer";
    if (input || !layer.is_layer) continue;
    const std::string base = keras_snake_case(layer.class_name);
    std::size_t& number = used[base];
    const std::string here = folder + base + (number == 0 ? "" : "_" + std::to_string(number));
    bool weights = false;
    if (layer.is_model()) {
      weights = add_layers(layer, here + "/", names.empty() ? layer.name : names + "/" + layer.name, container, result);
    } else {
      result.push_back({layer.class_name, layer.name, here, names, variables_of(base, layer.config)});
      weights = !result.back().variables.empty();
      if (!layer.children.empty()) {  // a wrapper, whose variables are those of what it wraps
        const KerasLayer& inner = layer.children[0];
        result.push_back({inner.class_name, layer.name, here + "/layer", names,
                          variables_of(keras_snake_case(inner.class_name), inner.config)});
        weights = weights || !result.back().variables.empty();
      }
    }
    number += old && weights ? 2 : 1;
    any = any || weights;
  }
  return any;
}

bool is_lower(char c) { return std::islower(static_cast<unsigned char>(c)) != 0; }
bool is_upper(char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; }

}  // namespace

std::string keras_snake_case(std::string_view class_name) {
  // As Keras' two regular expressions do it: first an underscore before every capital that a small letter follows (but
  // not at the start, nor right behind such a word of one letter less), then between small letters and capitals.
  std::string word;
  for (const char c : class_name) {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') word += c;
  }
  std::string split;
  std::size_t at = 0;
  while (at < word.size()) {
    split += word[at++];
    if (at + 1 < word.size() && is_upper(word[at]) && is_lower(word[at + 1])) {
      split += '_';
      split += word[at++];
      while (at < word.size() && is_lower(word[at])) split += word[at++];
    }
  }
  std::string result;
  for (std::size_t i = 0; i < split.size(); ++i) {
    if (i > 0 && is_lower(split[i - 1]) && is_upper(split[i])) result += '_';
    result += split[i];
  }
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

std::pair<std::string, std::size_t> keras_counter(std::string_view group) {
  const std::size_t bar = group.rfind('_');
  const std::string_view digits = bar == std::string_view::npos ? std::string_view() : group.substr(bar + 1);
  const bool number = !digits.empty() && digits.size() <= 9 && digits.find_first_not_of("0123456789") == digits.npos;
  if (!number) return {std::string(group), 0};
  return {std::string(group.substr(0, bar)), std::stoul(std::string(digits))};
}

std::vector<KerasVariables> keras_variables(const KerasLayer& model, KerasContainer container) {
  std::vector<KerasVariables> result;
  add_layers(model, "", "", container, result);
  return result;
}

std::vector<std::string> keras_variables(std::string_view class_path, std::size_t count) {
  std::vector<std::string> names;
  const ClassOfLayers* known = find_class(class_path);
  if (!known) return names;
  for (const Variable& variable : known->variables) names.emplace_back(variable.name);
  if (class_path == "batch_normalization" && count < names.size()) {
    names.erase(names.begin(), names.end() - static_cast<std::ptrdiff_t>(count));
  }
  if (count > names.size()) names.clear();
  names.resize(std::min(names.size(), count));
  return names;
}

}  // namespace fovea::weights
