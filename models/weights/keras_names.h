// How Keras names things: the layers that a model's config lists, and where each of them keeps its variables in a
// .weights.h5 file, whose groups are named by class ("layers/conv2d_7/vars/0") and not by layer. Internal to models/.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::weights {

/// One layer of a config, in the dialect of Keras 1, 2 or 3.
struct KerasLayer {
  std::string class_name;  ///< "Conv2D", "Functional"; without a package in front
  std::string name;        ///< "block_1_expand"
  std::string config;      ///< the JSON of its config, for a model without the layers
  /// The layers whose outputs it takes, in the order of its arguments; of its first call, if it is called repeatedly.
  /// In a Sequential the layer before.
  std::vector<std::string> inbound;
  /// The arguments of its first call as JSON, with their constants; empty in a Sequential.
  std::string call;
  int calls = 0;  ///< how often it is called
  /// False for a bare operation such as x * 2, which Keras 3 lists among the layers.
  bool is_layer = true;
  /// The layers of a nested model; the one layer of a wrapper such as TimeDistributed.
  std::vector<KerasLayer> children;

  bool is_model() const;
};

/// A whole model from its config ("keras.config" of a WeightFile). Error{format} named by `where` if the text is no
/// JSON or no config of a Functional or Sequential model, or is nested absurdly deep.
KerasLayer keras_model(std::string_view text, const std::string& where);
/// Its layers.
std::vector<KerasLayer> keras_layers(std::string_view text, const std::string& where);

/// Where one layer keeps its variables, and what they are.
struct KerasVariables {
  std::string class_name, name;
  std::string path;   ///< of its group in weights.h5: "layers/conv2d_7", "layers/functional/layers/dense"
  std::string model;  ///< names of the nested models that it is in: "", "backbone", "outer/inner"
  /// "kernel", "bias", …: what vars/0, vars/1, … hold. Empty if it has none or its class is not known.
  std::vector<std::string> variables;
};

/// How groups of layers are named and counted. Keras 2.12 and 2.13 called the container of a model's layers
/// "_layer_checkpoint_dependencies", and counted layers that have weights twice.
enum class KerasContainer { layers, checkpoint_dependencies };

/// Every layer in the order of the config, nested models' layers in place of them.
std::vector<KerasVariables> keras_variables(const KerasLayer& model, KerasContainer container = KerasContainer::layers);

/// What the `count` variables of a layer of this class (in the spelling of group names: "conv2d") are called, as far as
/// their number tells: three of a batch_normalization are taken as those without gamma, as in Inception.
std::vector<std::string> keras_variables(std::string_view class_path, std::size_t count);

/// "DepthwiseConv2D" -> "depthwise_conv2d", as Keras makes group names from class names.
std::string keras_snake_case(std::string_view class_name);
/// Splits "conv2d_7" into "conv2d" and 7, "conv2d" into "conv2d" and 0.
std::pair<std::string, std::size_t> keras_counter(std::string_view group);

}  // namespace fovea::weights
