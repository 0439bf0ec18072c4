// What a Keras config says about the network around one of the zoo's: a transfer model is a chain of layers before it
// (augmentation, rescaling), the zoo's network, nested or not, and a chain behind it (pooling, dense layers). Internal
// to models/.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/weights/keras_names.h"
#include "models/weights/weight_file.h"

namespace fovea::models {

/// A layer or operation of the config, with the models it is nested in dissolved.
struct KerasNode {
  std::string name;
  std::string class_name;  ///< "Dense"; of operations "TrueDivide" (Keras 3) or "tf.math.truediv" (Keras 2)
  std::string config;      ///< JSON
  std::string call;        ///< JSON of its arguments, for operations with constants
  std::string model;       ///< the models it is in: "", "backbone", "outer/backbone"
  std::vector<std::size_t> inputs;
  std::vector<std::size_t> users;
};

struct KerasGraph {
  int height = 0, width = 0, channels = 0;  ///< of its input; 0: any
  std::vector<KerasNode> nodes;
  std::vector<std::size_t> before;  ///< the chain from the input to the first layer that is no preprocessing
  std::vector<std::size_t> behind;  ///< the chain from the last feature map to the output; empty if it ends with one
  /// The chain behind has a dense layer: then it is a head to be built as it stands.
  bool has_dense = false;

  /// The node that a file's tensor belongs to, with what it is there ("kernel"); nothing if there is none.
  std::optional<std::pair<std::size_t, std::string>> owner(const std::string& tensor) const;
};

/// Error{format} naming the layer, for graphs with several inputs or outputs or layers that are called twice.
KerasGraph keras_graph(const weights::KerasLayer& model, const std::string& where);

}  // namespace fovea::models
