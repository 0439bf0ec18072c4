#include "models/weights/keras_stages.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "layers/init.h"
#include "layers/ops/arithmetic.h"
#include "layers/ops/reduce.h"
#include "models/blocks.h"
#include "models/weights/tensor_map.h"

namespace fovea::models {
namespace {

using nlohmann::json;
using weights::FileTensor;

[[noreturn]] void refuse(const KerasFrame& frame, const KerasNode& n, const std::string& what) {
  throw Error(ErrorKind::format, frame.network.path, str("layer '", n.name, "' (", n.class_name, ") ", what),
              "save the network without it, or build it with this library's layers");
}

json config_of(const KerasNode& n) {
  json config = json::parse(n.config, nullptr, false);
  return config.is_object() ? config : json::object();
}

double number_or(const json& config, const char* key, double otherwise) {
  const auto at = config.find(key);
  return at != config.end() && at->is_number() ? at->get<double>() : otherwise;
}

bool flag_or(const json& config, const char* key, bool otherwise) {
  const auto at = config.find(key);
  return at != config.end() && at->is_boolean() ? at->get<bool>() : otherwise;
}

/// All numbers in nested lists, in order; Keras 3 wraps constants as {"class_name": "__tensor__" or "__numpy__",
/// "config": {"value": …}}.
void collect_numbers(const json& item, std::vector<double>& out) {
  if (item.is_number()) out.push_back(item.get<double>());
  if (item.is_array()) {
    for (const json& one : item) collect_numbers(one, out);
  }
  if (!item.is_object()) return;
  const auto config = item.find("config");
  if (config != item.end() && config->is_object() && config->contains("value"))
    collect_numbers((*config)["value"], out);
}

bool is_tensor(const json& item) {
  return item.is_object() && item.contains("class_name") && item["class_name"] == "__keras_tensor__";
}

/// The constant operand of an operation, and whether it stands before the tensor.
struct Constant {
  std::vector<double> values;
  bool first = false;
};

Constant constant_of(const KerasFrame& frame, const KerasNode& n) {
  Constant out;
  const json call = json::parse(n.call, nullptr, false);
  if (call.is_object() && call.contains("args") && call["args"].is_array()) {  // Keras 3
    bool seen = false;
    for (const json& argument : call["args"]) {
      if (is_tensor(argument)) {
        seen = true;
        continue;
      }
      if (out.values.empty()) out.first = !seen;
      collect_numbers(argument, out.values);
    }
    if (call.contains("kwargs") && call["kwargs"].is_object()) {
      for (const char* key : {"x2", "y"}) {
        if (call["kwargs"].contains(key)) collect_numbers(call["kwargs"][key], out.values);
      }
    }
  } else if (call.is_array() && call.size() >= 4 && call[3].is_object()) {  // Keras 2: ["x", 0, 0, {"y": 127.5}]
    for (const char* key : {"y", "bias"}) {
      if (call[3].contains(key)) collect_numbers(call[3][key], out.values);
    }
  }
  const std::size_t count = out.values.size();
  if (count != 1 && count != 3) refuse(frame, n, str("has no constant that was understood: ", n.call.substr(0, 200)));
  return out;
}

std::vector<double> values_of(const FileTensor* t) { return t ? t->read().to_vector<double>() : std::vector<double>(); }

/// y = scale·x + offset behind what the transform does already.
void follow(InputTransform& t, const std::vector<double>& scale, const std::vector<double>& offset) {
  const std::size_t n = std::max({t.scale.size(), t.offset.size(), scale.size(), offset.size()});
  const auto at = [](const std::vector<double>& v, std::size_t i) { return v.size() == 1 ? v[0] : v[i]; };
  for (const std::size_t size : {t.scale.size(), t.offset.size(), scale.size(), offset.size()}) {
    if (size != 1 && size != n)
      throw Error(ErrorKind::format, "preprocessing", str("constants for ", size, " and for ", n, " channels"));
  }
  InputTransform next = t;
  next.scale.resize(n);
  next.offset.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    next.scale[i] = at(t.scale, i) * at(scale, i);
    next.offset[i] = at(t.offset, i) * at(scale, i) + at(offset, i);
  }
  t = std::move(next);
}

void reverse(InputTransform& t) {
  t.reversed = !t.reversed;
  std::reverse(t.scale.begin(), t.scale.end());
  std::reverse(t.offset.begin(), t.offset.end());
}

void follow_layer(InputTransform& t, const KerasFrame& frame, std::size_t index) {
  const KerasNode& n = frame.graph.nodes[index];
  const std::string& kind = n.class_name;
  const auto is = [&](std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return kind == name; });
  };
  if (kind == "RandomCrop" || kind == "RandomHeight" || kind == "RandomWidth")
    refuse(frame, n, "changes the size of pictures");
  if (kind.starts_with("Random") || is({"GaussianNoise", "Dropout", "Cast", "tf.cast"})) return;
  const json config = config_of(n);
  if (kind == "Rescaling") {
    std::vector<double> scale, offset;
    if (config.contains("scale")) collect_numbers(config["scale"], scale);
    if (config.contains("offset")) collect_numbers(config["offset"], offset);
    if (scale.empty()) refuse(frame, n, "has no scale");
    if (offset.empty()) offset = {0};
    follow(t, scale, offset);
  } else if (kind == "Normalization") {
    std::vector<double> mean = values_of(frame.find(index, "mean")),
                        variance = values_of(frame.find(index, "variance"));
    if (mean.empty() && config.contains("mean")) collect_numbers(config["mean"], mean);
    if (variance.empty() && config.contains("variance")) collect_numbers(config["variance"], variance);
    if (mean.empty() || variance.size() != mean.size() || flag_or(config, "invert", false))
      refuse(frame, n, "has no mean and variance of channels");
    for (std::size_t i = 0; i < mean.size(); ++i) {
      variance[i] = 1 / std::max(std::sqrt(variance[i]), 1e-7);
      mean[i] *= -variance[i];
    }
    follow(t, variance, mean);
  } else if (kind == "Stack") {  // [2, 1, 0] of the channels taken apart
    const json call = json::parse(n.call, nullptr, false);
    std::vector<int> order;
    for (const std::size_t input : n.inputs) {
      const std::string& item = frame.graph.nodes[input].call;
      std::vector<double> numbers;
      const json parsed = json::parse(item, nullptr, false);
      if (parsed.is_object() && parsed.contains("args") && parsed["args"].size() == 2)
        collect_numbers(parsed["args"][1], numbers);
      order.push_back(numbers.size() == 1 ? static_cast<int>(numbers[0]) : -1);
    }
    if (order == std::vector<int>{2, 1, 0}) {
      reverse(t);
    } else if (order != std::vector<int>{0, 1, 2}) {
      refuse(frame, n, "stacks something else than the three channels");
    }
  } else if (kind == "tf.__operators__.getitem") {
    std::string call = n.call;
    std::erase(call, ' ');
    if (call.find("\"step\":-1") == std::string::npos) refuse(frame, n, "cuts pictures");
    reverse(t);
  } else {
    const Constant c = constant_of(frame, n);
    std::vector<double> values = c.values;
    const auto negated = [](std::vector<double> v) {
      for (double& x : v) x = -x;
      return v;
    };
    if (is({"TrueDivide", "Divide", "tf.math.truediv", "tf.math.divide"})) {
      if (c.first) refuse(frame, n, "divides by the picture");
      for (double& x : values) x = 1 / x;
      follow(t, values, {0});
    } else if (is({"Multiply", "tf.math.multiply"})) {
      follow(t, values, {0});
    } else if (is({"Subtract", "tf.math.subtract"})) {
      if (c.first) {
        follow(t, {-1}, values);
      } else {
        follow(t, {1}, negated(values));
      }
    } else {
      follow(t, {1}, values);
    }
  }
}

/// A 1×1 convolution with constants: scales, shifts and orders channels.
class ChannelTransform final : public Module {
 public:
  ChannelTransform(const std::vector<float>& matrix, const std::vector<float>& offset) {
    const auto c = static_cast<std::int64_t>(offset.size());
    Tensor weight({1, 1, c, c}), bias({c});
    std::copy(matrix.begin(), matrix.end(), weight.mutable_data<float>());
    std::copy(offset.begin(), offset.end(), bias.mutable_data<float>());
    register_buffer("weight", weight);
    register_buffer("bias", bias);
  }
  std::string_view kind() const override { return "ChannelTransform"; }
  Tensor forward(const Tensor& x) override { return conv2d(x, own_at(0), own_at(1), {}); }
};

class GlobalMaxPool final : public Module {
 public:
  std::string_view kind() const override { return "GlobalMaxPool"; }
  Tensor forward(const Tensor& x) override { return max(x, {1, 2}); }
};

/// The activation that a layer's config names; nothing for a softmax.
std::optional<ActivationParams> activation_of(const KerasFrame& frame, const KerasNode& n, const json& value) {
  if (value.is_null()) return kNoActivation;
  std::string name = value.is_string() ? value.get<std::string>() : std::string();
  double alpha = 0.2;
  if (value.is_object()) {  // {"class_name": "ReLU", "config": {…}}
    name = value.contains("class_name") && value["class_name"].is_string() ? value["class_name"] : "";
    if (name == "function" && value.contains("config") && value["config"].is_string()) name = value["config"];
    if (value.contains("config") && value["config"].is_object())
      alpha = number_or(value["config"], "negative_slope", alpha);
  }
  name = weights::keras_snake_case(name);
  if (name == "softmax") return std::nullopt;
  const std::pair<const char*, ActivationParams> known[] = {{"linear", kNoActivation},
                                                            {"relu", {Activation::relu}},
                                                            {"re_lu", {Activation::relu}},
                                                            {"relu6", {Activation::relu6}},
                                                            {"sigmoid", {Activation::sigmoid}},
                                                            {"tanh", {Activation::tanh}},
                                                            {"swish", {Activation::silu}},
                                                            {"silu", {Activation::silu}},
                                                            {"gelu", {Activation::gelu}},
                                                            {"hard_swish", {Activation::hard_swish}},
                                                            {"hard_silu", {Activation::hard_swish}},
                                                            {"leaky_relu", {Activation::leaky_relu, alpha}}};
  for (const auto& [theirs, ours] : known) {
    if (name == theirs) return ours;
  }
  refuse(frame, n, str("has the activation ", value.dump().substr(0, 80), ", which is not known here"));
}

class Stages {
 public:
  Stages(Sequential& net, const KerasFrame& frame, std::set<std::string> taken)
      : net_(net), frame_(frame), taken_(std::move(taken)) {}

  void add_all() {
    const std::vector<std::size_t>& chain = frame_.graph.behind;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      if (node(chain[i]).class_name == "Dense") last_dense_ = i;
    }
    for (std::size_t i = 0; i < chain.size(); ++i) add(i);
  }

 private:
  const KerasNode& node(std::size_t i) const { return frame_.graph.nodes[i]; }

  bool last(std::size_t position) const { return position + 1 == frame_.graph.behind.size(); }

  /// "pool", "dropout" and "classifier" where they are what the zoo calls so.
  std::string name_of(std::size_t position) {
    const KerasNode& n = node(frame_.graph.behind[position]);
    std::string name = n.name;
    std::replace(name.begin(), name.end(), '.', '_');
    std::replace(name.begin(), name.end(), '/', '_');
    if (position == 0) name = "pool";
    if (last_dense_ == position) name = "classifier";
    if (n.class_name == "Dropout" && last_dense_ == position + 1) name = "dropout";
    while (!taken_.insert(name).second) name += "_";
    return name;
  }

  template <class M>
  void put(std::size_t position, M&& module) {
    net_.add(name_of(position), std::forward<M>(module));
  }

  const FileTensor& needed(std::size_t index, const char* variable) const {
    const FileTensor* t = frame_.find(index, variable);
    if (!t) refuse(frame_, node(index), str("has no ", variable, " in the file"));
    return *t;
  }

  void add(std::size_t position) {
    const std::size_t index = frame_.graph.behind[position];
    const KerasNode& n = node(index);
    const std::string& kind = n.class_name;
    const json config = config_of(n);
    const auto is = [&](const char* a, const char* b = "") { return kind == a || kind == b; };
    if (is("GlobalAveragePooling2D", "GlobalAvgPool2D")) {
      if (flag_or(config, "keepdims", false)) {
        put(position, AdaptiveAveragePool(1));
      } else {
        put(position, GlobalAveragePool());
      }
    } else if (is("GlobalMaxPooling2D", "GlobalMaxPool2D")) {
      if (flag_or(config, "keepdims", false)) refuse(frame_, n, "keeps the axes that it pools over");
      put(position, GlobalMaxPool());
    } else if (is("AveragePooling2D", "AvgPool2D") || is("MaxPooling2D", "MaxPool2D")) {
      pool(position, n, config, kind.starts_with("Max"));
    } else if (is("Flatten") || is("Reshape")) {
      if (is("Reshape") && (!config.contains("target_shape") || config["target_shape"].size() != 1))
        refuse(frame_, n, "gives something else than a vector");
      put(position, Flatten());
    } else if (is("Dropout")) {
      put(position, Dropout(number_or(config, "rate", 0)));
    } else if (is("GaussianDropout", "GaussianNoise") || is("AlphaDropout", "ActivityRegularization")) {
      // Only in training.
    } else if (is("Rescaling")) {
      if (!config.contains("scale") || !config["scale"].is_number()) refuse(frame_, n, "scales channels one by one");
      put(position, Rescale(number_or(config, "scale", 1), number_or(config, "offset", 0)));
    } else if (is("ReLU")) {
      const json limit = config.contains("max_value") ? config["max_value"] : json();
      if (!limit.is_null() && limit != 6.0) refuse(frame_, n, str("is cut off at ", limit.dump()));
      if (number_or(config, "negative_slope", 0) != 0 || number_or(config, "threshold", 0) != 0)
        refuse(frame_, n, "has a slope or threshold");
      put(position, ActivationModule({limit.is_null() ? Activation::relu : Activation::relu6}));
    } else if (is("LeakyReLU")) {
      put(position, LeakyReLU(number_or(config, "alpha", number_or(config, "negative_slope", 0.3))));
    } else if (is("Softmax")) {
      if (!last(position)) refuse(frame_, n, "is not at the end");
    } else if (is("Activation")) {
      activation(position, n, config);
    } else if (is("Dense")) {
      dense(position, index, config);
    } else if (is("BatchNormalization")) {
      norm(position, index, config);
    } else {
      refuse(frame_, n, "is not known here");
    }
  }

  void pool(std::size_t position, const KerasNode& n, const json& config, bool greatest) {
    const auto pair = [&](const char* key) {
      const json value = config.contains(key) ? config[key] : json();
      if (!value.is_array() || value.size() != 2 || !value[0].is_number_integer() || !value[1].is_number_integer())
        refuse(frame_, n, str("has no ", key));
      return Extent(value[0].get<int>(), value[1].get<int>());
    };
    Pool2dOptions options;
    options.stride = pair(config.contains("strides") && !config["strides"].is_null() ? "strides" : "pool_size");
    if (config.contains("padding") && config["padding"] == "same") options.padding = Padding::tf_same();
    if (greatest) {
      put(position, MaxPool2d(pair("pool_size"), options));
    } else {
      put(position, AvgPool2d(pair("pool_size"), options));
    }
  }

  void activation(std::size_t position, const KerasNode& n, const json& config) {
    const auto act = activation_of(frame_, n, config.contains("activation") ? config["activation"] : json());
    if (!act) {
      if (!last(position)) refuse(frame_, n, "is a softmax that is not at the end");
    } else if (act->kind != Activation::none) {
      put(position, ActivationModule(*act));
    }
  }

  static void fill(Module& module, const char* name, const FileTensor& from) {
    to_ours(from.read(), module.tensor(name), TensorPair{.ours = name, .theirs = {from.name}}, Layout::keras);
  }

  void dense(std::size_t position, std::size_t index, const json& config) {
    const KerasNode& n = node(index);
    const FileTensor& kernel = needed(index, "kernel");
    if (kernel.shape.rank() != 2 || kernel.shape[0] > 1 << 24 || kernel.shape[1] > 1 << 24)
      refuse(frame_, n, str("has a kernel of shape ", kernel.shape));
    const FileTensor* bias = frame_.find(index, "bias");
    if (bias && bias->shape != Shape{kernel.shape[1]}) refuse(frame_, n, str("has a bias of shape ", bias->shape));
    auto act = activation_of(frame_, n, config.contains("activation") ? config["activation"] : json());
    if (!act) {
      for (std::size_t i = position + 1; i < frame_.graph.behind.size(); ++i) {
        if (node(frame_.graph.behind[i]).class_name == "Dense") refuse(frame_, n, "has a softmax, but is not the last");
      }
      act = kNoActivation;
    }
    const ParameterMode mode(ParameterMode::Kind::uninitialized);
    Dense module(static_cast<int>(kernel.shape[0]), static_cast<int>(kernel.shape[1]),
                 {.bias = bias != nullptr, .activation = *act});
    fill(module, "weight", kernel);
    if (bias) fill(module, "bias", *bias);
    put(position, std::move(module));
  }

  void norm(std::size_t position, std::size_t index, const json& config) {
    const FileTensor& mean = needed(index, "moving_mean");
    if (mean.shape.rank() != 1 || mean.shape[0] > 1 << 24)
      refuse(frame_, node(index), str("has means of shape ", mean.shape));
    BatchNormOptions options = BatchNormOptions::keras();
    options.epsilon = number_or(config, "epsilon", 1e-3);
    options.momentum = 1 - number_or(config, "momentum", 0.99);
    const bool scale = frame_.find(index, "gamma"), center = frame_.find(index, "beta");
    const ParameterMode mode(ParameterMode::Kind::uninitialized);
    BatchNorm module(static_cast<int>(mean.shape[0]), options, scale, center);
    const std::pair<const char*, const char*> names[] = {
        {"weight", "gamma"}, {"bias", "beta"}, {"running_mean", "moving_mean"}, {"running_var", "moving_variance"}};
    for (const auto& [ours, theirs] : names) {
      if ((!scale && theirs == std::string_view("gamma")) || (!center && theirs == std::string_view("beta"))) continue;
      const FileTensor& t = needed(index, theirs);
      if (t.shape != mean.shape) refuse(frame_, node(index), str("has a ", theirs, " of shape ", t.shape));
      fill(module, ours, t);
    }
    put(position, std::move(module));
  }

  Sequential& net_;
  const KerasFrame& frame_;
  std::set<std::string> taken_;
  std::optional<std::size_t> last_dense_;
};

}  // namespace

bool InputTransform::nothing() const {
  return !reversed && std::all_of(scale.begin(), scale.end(), [](double s) { return s == 1; }) &&
         std::all_of(offset.begin(), offset.end(), [](double o) { return o == 0; });
}

ModulePtr InputTransform::module(int channels) const {
  if (nothing()) return nullptr;
  if (!reversed && scale.size() == 1 && offset.size() == 1) return std::make_shared<Rescale>(scale[0], offset[0]);
  const auto c = static_cast<std::size_t>(channels);
  if ((scale.size() != 1 && scale.size() != c) || (offset.size() != 1 && offset.size() != c))
    throw Error(ErrorKind::format, "preprocessing", str("has constants for other than ", channels, " channels"));
  std::vector<float> matrix(c * c, 0.0f), shift(c);
  for (std::size_t i = 0; i < c; ++i) {
    const std::size_t from = reversed ? c - 1 - i : i;
    matrix[from * c + i] = static_cast<float>(scale.size() == 1 ? scale[0] : scale[i]);
    shift[i] = static_cast<float>(offset.size() == 1 ? offset[0] : offset[i]);
  }
  return std::make_shared<ChannelTransform>(matrix, shift);
}

InputTransform input_transform(const KerasFrame& frame, const std::vector<std::size_t>& before) {
  InputTransform t;
  for (const std::size_t index : before) follow_layer(t, frame, index);
  return t;
}

void add_stages(Sequential& net, const KerasFrame& frame, std::set<std::string> taken) {
  Stages(net, frame, std::move(taken)).add_all();
}

}  // namespace fovea::models
