// A Keras file with its config as what stands before and behind a network of the zoo, and the tensors of that network
// alone. Internal to models/.
#pragma once

#include <memory>

#include "models/model.h"
#include "models/weights/keras_graph.h"
#include "models/weights/weight_file.h"

namespace fovea::models {

struct KerasFrame {
  KerasGraph graph;
  /// The tensors of everything but `graph.behind` (where that has a dense layer) and a normalisation of one's own,
  /// under the names of their layers without those of nested models.
  weights::WeightFile network;
  /// Those of the rest, with the node they belong to.
  struct Owned {
    std::size_t node;
    std::string variable;
    const weights::FileTensor* tensor;
  };
  std::vector<Owned> frame;
  int classes = 0;  ///< results of the last dense layer behind; 0: there is none

  const weights::FileTensor* find(std::size_t node, std::string_view variable) const;
};

/// The stage of a network that does what a Keras model does to its input.
inline constexpr std::string_view kPreprocessingStage = "preprocessing";

/// Nothing for files without "keras.config". The result points into `file`. `normalizes`: the last normalisation before
/// the network is part of it, as EfficientNet's.
std::shared_ptr<const KerasFrame> keras_frame(const weights::WeightFile& file, bool normalizes);

/// The zoo's network `inside`, which ends with a feature map where `with_head`, between the chains of the file. Stages
/// behind are called "pool", "dropout" and "classifier" where they are what the zoo calls so, else as in the file. A
/// softmax at the end is left out. Error{format} naming the layer that cannot be.
Model framed(const Model& inside, const KerasFrame& frame, bool with_head);

}  // namespace fovea::models
